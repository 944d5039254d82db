<?php
// SPDX-License-Identifier: Apache-2.0
// session: a page whose visitors' sessions PHP keeps in memcached; which extension does, php's flags say.
$things = $_SERVER['REQUEST_URI'];
header('Content-Type: text/plain');
session_start();
switch (strtok($things, '/')) {
    case 'basket':
        $_SESSION['things'][] = basename($things);
        echo implode(', ', $_SESSION['things']);
        break;
    case 'look':
        echo count($_SESSION['things'] ?? []), ' things';
        break;
    case 'fill':
        $_SESSION['text'] = str_repeat('0123456789', (int) basename($things));
        echo strlen($_SESSION['text']);
        break;
    case 'filled':
        echo md5($_SESSION['text'] ?? '');
        break;
    case 'renew':
        echo session_regenerate_id(true) ? 'renewed' : 'not renewed';
        break;
    case 'leave':
        echo session_destroy() ? 'bye' : 'stuck';
        break;
}
