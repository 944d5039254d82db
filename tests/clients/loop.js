// SPDX-License-Identifier: Apache-2.0
// loop: what the drivers in JavaScript share; steps.py says what they are.
'use strict';

const readline = require('readline');

exports.text = (value) => (value === undefined || value === null ? null : Buffer.from(value).toString('base64'));

// Serve one request after the other. Each op takes the request and returns a promise.
exports.run = async (name, ops) => {
    const say = (answer) => process.stdout.write(JSON.stringify(answer) + '\n');
    say({ client: name, ops: Object.keys(ops) });
    for await (const line of readline.createInterface({ input: process.stdin, crlfDelay: Infinity })) {
        const request = JSON.parse(line);
        if (request.value !== undefined) {
            request.value = Buffer.from(request.value, 'base64');
        }
        try {
            const result = await ops[request.op](request);
            say({ result: result === undefined ? null : result });
        } catch (error) {
            say({ error: String(error) });
        }
    }
    process.exit(0);
};
