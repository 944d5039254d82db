// SPDX-License-Identifier: Apache-2.0

// gomemcache: Go, the text protocol. steps.py says what a driver is.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
)

type request struct {
	Op      string   `json:"op"`
	Key     string   `json:"key"`
	Keys    []string `json:"keys"`
	Value   []byte   `json:"value"` // encoding/json reads base64 into bytes
	Exptime int32    `json:"exptime"`
	Delta   uint64   `json:"delta"`
}

var client *memcache.Client
var held = map[string]*memcache.Item{}

// What is not there, or not stored, is an answer; any other error is one.
func told(err error) (interface{}, error) {
	switch err {
	case nil:
		return true, nil
	case memcache.ErrCacheMiss, memcache.ErrNotStored, memcache.ErrCASConflict:
		return false, nil
	}
	return nil, err
}

func item(q request) *memcache.Item {
	return &memcache.Item{Key: q.Key, Value: q.Value, Expiration: q.Exptime}
}

func value(found *memcache.Item, err error) (interface{}, error) {
	if err == memcache.ErrCacheMiss {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return found.Value, nil
}

func number(count uint64, err error) (interface{}, error) {
	if err == memcache.ErrCacheMiss {
		return nil, nil
	}
	return count, err
}

func many(keys []string) (interface{}, error) {
	found, err := client.GetMulti(keys)
	values := map[string][]byte{}
	for key, one := range found {
		values[key] = one.Value
	}
	return values, err
}

var ops = map[string]func(request) (interface{}, error){
	"get":      func(q request) (interface{}, error) { return value(client.Get(q.Key)) },
	"set":      func(q request) (interface{}, error) { return told(client.Set(item(q))) },
	"add":      func(q request) (interface{}, error) { return told(client.Add(item(q))) },
	"delete":   func(q request) (interface{}, error) { return told(client.Delete(q.Key)) },
	"replace":  func(q request) (interface{}, error) { return told(client.Replace(item(q))) },
	"touch":    func(q request) (interface{}, error) { return told(client.Touch(q.Key, q.Exptime)) },
	"flush":    func(q request) (interface{}, error) { return told(client.FlushAll()) },
	"get_many": func(q request) (interface{}, error) { return many(q.Keys) },
	"incr":     func(q request) (interface{}, error) { return number(client.Increment(q.Key, q.Delta)) },
	"decr":     func(q request) (interface{}, error) { return number(client.Decrement(q.Key, q.Delta)) },
	"gets": func(q request) (interface{}, error) {
		found, err := client.Get(q.Key)
		held[q.Key] = found
		return value(found, err)
	},
	"cas": func(q request) (interface{}, error) {
		held[q.Key].Value = q.Value
		return told(client.CompareAndSwap(held[q.Key]))
	},
}

func say(answer interface{}) {
	line, err := json.Marshal(answer)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(line))
}

func main() {
	client = memcache.New(os.Args[1] + ":" + os.Args[2])
	client.Timeout = time.Minute
	names := []string{}
	for name := range ops {
		names = append(names, name)
	}
	say(map[string]interface{}{"client": "gomemcache", "ops": names})
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var q request
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			panic(err)
		}
		if result, err := ops[q.Op](q); err != nil {
			say(map[string]string{"error": err.Error()})
		} else {
			say(map[string]interface{}{"result": result})
		}
	}
}
