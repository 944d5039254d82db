// SPDX-License-Identifier: Apache-2.0
// memjs: the binary protocol in JavaScript. steps.py says what a driver is.
'use strict';

const memjs = require('memjs');
const { run, text } = require('./loop.js');

const [host, port] = process.argv.slice(2);
const quiet = { log: () => {} };
const client = memjs.Client.create(`${host}:${port}`, { retries: 2, failoverTime: 1, logger: quiet });

// What is missing is a failure to it; so is a server that cannot be reached.
const stored = (done) => done.catch((error) => {
    if (/not stored/i.test(String(error))) {
        return false;
    }
    throw error;
});
const number = (done) => done.then(({ success, value }) => (success ? value : null));

run(`memjs ${require('memjs/package.json').version}`, {
    get: ({ key }) => client.get(key).then(({ value }) => text(value)),
    set: ({ key, value, exptime }) => client.set(key, value, { expires: exptime }),
    add: ({ key, value, exptime }) => client.add(key, value, { expires: exptime }),
    replace: ({ key, value, exptime }) => client.replace(key, value, { expires: exptime }),
    append: ({ key, value }) => stored(client.append(key, value)),
    // Its prepend sends the opcode of append.
    delete: ({ key }) => client.delete(key),
    incr: ({ key, delta }) => number(client.increment(key, delta, {})),
    decr: ({ key, delta }) => number(client.decrement(key, delta, {})),
    incr_initial: ({ key, delta, initial }) => number(client.increment(key, delta, { initial })),
    touch: ({ key, exptime }) => client.touch(key, exptime),
    flush: () => new Promise((done, failed) => {
        client.flush((error) => (error ? failed(error) : done(true)));
    }),
    own: () => new Promise((done, failed) => {
        client.statsWithKey('settings', (error, server, stats) => (
            error ? failed(error) : done(Number(stats.item_size_max) === 2 << 20)));
    }),
    stats: () => new Promise((done, failed) => {
        client.stats((error, server, stats) => (error ? failed(error) : done(stats)));
    }),
});
