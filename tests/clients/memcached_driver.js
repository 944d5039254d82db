// SPDX-License-Identifier: Apache-2.0
// memcached: the text protocol in JavaScript. steps.py says what a driver is.
'use strict';

const Memcached = require('memcached');
const { run, text } = require('./loop.js');

const [host, port] = process.argv.slice(2);
const client = new Memcached(`${host}:${port}`, {
    maxValue: 4 << 20, retries: 0, retry: 1, reconnect: 1, failures: 1000, timeout: 5000,
});
const unique = {};

// Its functions take a callback last.
const ask = (name, ...words) => new Promise((done, failed) => {
    client[name](...words, (error, result) => (error ? failed(error) : done(result)));
});
// It says that something was not stored by an error.
const stored = (asked) => asked.catch((error) => {
    if (/not stored|not found/i.test(String(error))) {
        return false;
    }
    throw error;
});
const number = (asked) => asked.then((result) => (result === false ? null : result));

run(`memcached ${require('memcached/package.json').version}`, {
    get: ({ key }) => ask('get', key).then(text),
    set: ({ key, value, exptime }) => stored(ask('set', key, value, exptime)),
    add: ({ key, value, exptime }) => stored(ask('add', key, value, exptime)),
    replace: ({ key, value, exptime }) => stored(ask('replace', key, value, exptime)),
    append: ({ key, value }) => stored(ask('append', key, value)),
    prepend: ({ key, value }) => stored(ask('prepend', key, value)),
    delete: ({ key }) => ask('del', key),
    get_many: ({ keys }) => ask('getMulti', keys).then((found) => {
        const texts = {};
        for (const key of Object.keys(found)) {
            texts[key] = text(found[key]);
        }
        return texts;
    }),
    gets: ({ key }) => ask('gets', key).then((found) => {
        unique[key] = found === undefined ? undefined : found.cas;
        return found === undefined ? null : text(found[key]);
    }),
    cas: ({ key, value, exptime }) => stored(ask('cas', key, value, unique[key], exptime)),
    incr: ({ key, delta }) => number(ask('incr', key, delta)),
    decr: ({ key, delta }) => number(ask('decr', key, delta)),
    touch: ({ key, exptime }) => ask('touch', key, exptime),
    flush: () => ask('flush').then((all) => all.every((one) => one)),
    stats: () => ask('stats').then((all) => all[0]),
    version: () => ask('version').then((all) => all[0].version),
    own: async () => {
        await ask('set', 'a', 'x', 0);
        const settings = (await ask('settings'))[0];
        const items = (await ask('items'))[0];
        return Number(settings.item_size_max) === 2 << 20 && items !== undefined && (await ask('slabs')).length === 1;
    },
    typed: async () => {
        const kept = { list: [1, 2, 3], word: 'x' };
        await ask('set', 't', kept, 0);
        await ask('set', 'n', 12345, 0);
        return JSON.stringify(await ask('get', 't')) === JSON.stringify(kept) && (await ask('get', 'n')) === 12345;
    },
});
