<?php
// SPDX-License-Identifier: Apache-2.0
// php-memcached: PHP over libmemcached, text or binary. steps.py says what a driver is.

if (!class_exists('Memcached')) {
    fwrite(STDERR, "php-memcached is not installed\n");
    exit(77);
}

$binary = in_array('binary', $argv);
$client = new Memcached();
$client->setOption(Memcached::OPT_BINARY_PROTOCOL, $binary);
$client->setOption(Memcached::OPT_COMPRESSION, false);
$client->setOption(Memcached::OPT_RETRY_TIMEOUT, 1);
$client->setOption(Memcached::OPT_TCP_NODELAY, true);
$client->addServer($argv[1], (int)$argv[2]);
$unique = [];

function text($value)
{
    return $value === false ? null : base64_encode((string)$value);
}

function number($value)
{
    return $value === false ? null : $value;
}

$ops = [
    'get' => fn($q) => text($client->get($q['key'])),
    'set' => fn($q) => $client->set($q['key'], $q['value'], $q['exptime']),
    'add' => fn($q) => $client->add($q['key'], $q['value'], $q['exptime']),
    'replace' => fn($q) => $client->replace($q['key'], $q['value'], $q['exptime']),
    'append' => fn($q) => $client->append($q['key'], $q['value']),
    'prepend' => fn($q) => $client->prepend($q['key'], $q['value']),
    'delete' => fn($q) => $client->delete($q['key']),
    'get_many' => fn($q) => (object)array_map('text', $client->getMulti($q['keys'])),
    'set_many' => fn($q) => $client->setMulti($q['values']),
    'delete_many' => fn($q) => !in_array(false, array_map(fn($one) => $one === true,
                                                          $client->deleteMulti($q['keys']))),
    'gets' => function ($q) use ($client, &$unique) {
        $found = $client->get($q['key'], null, Memcached::GET_EXTENDED);
        $unique[$q['key']] = $found === false ? null : $found['cas'];
        return $found === false ? null : text($found['value']);
    },
    'cas' => function ($q) use ($client, &$unique) {
        return $client->cas($unique[$q['key']], $q['key'], $q['value'], $q['exptime']);
    },
    'incr' => fn($q) => number($client->increment($q['key'], $q['delta'])),
    'decr' => fn($q) => number($client->decrement($q['key'], $q['delta'])),
    'touch' => fn($q) => $client->touch($q['key'], $q['exptime']),
    'flush' => fn($q) => $client->flush(),
    'stats' => fn($q) => array_values($client->getStats())[0],
    'version' => fn($q) => array_values($client->getVersion())[0],
    'typed' => function ($q) use ($client) {
        $kept = ['int' => 12345, 'float' => 1.5, 'bool' => true, 'array' => ['a' => [1, 2]]];
        return $client->setMulti($kept) && $client->getMulti(array_keys($kept)) === $kept;
    },
];
if ($binary) {
    $ops['incr_initial'] = fn($q) => number($client->increment($q['key'], $q['delta'], $q['initial']));
}

echo json_encode(['client' => 'php-memcached ' . phpversion('memcached'), 'ops' => array_keys($ops)]), "\n";
while (($line = fgets(STDIN)) !== false) {
    $request = json_decode($line, true);
    if (isset($request['value'])) {
        $request['value'] = base64_decode($request['value']);
    }
    if (isset($request['values'])) {
        $request['values'] = array_map('base64_decode', $request['values']);
    }
    try {
        $answer = ['result' => $ops[$request['op']]($request)];
    } catch (Throwable $error) {
        $answer = ['error' => $error->getMessage()];
    }
    echo json_encode($answer), "\n";
}
