#!/usr/bin/ruby
# SPDX-License-Identifier: Apache-2.0
# dalli: Ruby. The binary protocol, and meta from 3.2 on (debian_packages.py). steps.py says what a driver is.

begin
  require 'dalli'
rescue LoadError
  warn 'ruby-dalli is not installed'
  exit 77
end
require 'json'
require 'logger'

Dalli.logger = Logger.new(File::NULL)
host, port, protocol = ARGV
if protocol == 'meta' && !defined?(Dalli::Protocol::Meta)
  warn "dalli #{Dalli::VERSION} has no meta protocol"
  exit 77
end
RAW = { raw: true }.freeze
options = { value_max_bytes: 4 << 20, down_retry_delay: 0 }
if protocol == 'meta'
  # It reads a value up to the first line end, so that it can keep none, nor what is compressed.
  options[:protocol] = :meta
  options[:compress] = false
end
$client = Dalli::Client.new("#{host}:#{port}", options)
$unique = {}

def text(value)
  value.nil? ? nil : [value].pack('m0')
end

# A store tells the new cas unique; 0 and nil: there is none.
def stored(unique)
  unique && unique != 0 ? true : false
end

def typed
  client = Dalli::Client.new(ARGV[0, 2].join(':'))
  kept = { 'a' => [1, 2.5, nil], 'b' => 'x' * 5000 }
  client.set('t', kept)
  client.get('t') == kept
ensure
  client.close
end

def own
  $client.set('a', '1', 0, RAW)
  $client.cas('a', 0, RAW) { |value| "#{value}2" } &&
    $client.get('a') == '12' &&
    $client.fetch('b', 100, RAW) { 'made' } == 'made' &&
    $client.get_multi_cas('a', 'b').size == 2 &&
    $client.delete_cas('a', 12_345) != true &&
    $client.replace_cas('a', '3', $client.get_cas('a')[1], 0, RAW) != 0
end

OPS = {
  'get' => ->(q) { text($client.get(q['key'])) },
  'set' => ->(q) { stored($client.set(q['key'], q['value'], q['exptime'], RAW)) },
  'add' => ->(q) { stored($client.add(q['key'], q['value'], q['exptime'], RAW)) },
  'replace' => ->(q) { stored($client.replace(q['key'], q['value'], q['exptime'], RAW)) },
  'append' => ->(q) { $client.append(q['key'], q['value']) ? true : false },
  'prepend' => ->(q) { $client.prepend(q['key'], q['value']) ? true : false },
  'delete' => ->(q) { $client.delete(q['key']) ? true : false },
  'get_many' => ->(q) { $client.get_multi(*q['keys']).transform_values { |value| text(value) } },
  'set_many' => lambda { |q|
    $client.multi { q['values'].each { |key, value| $client.set(key, value, 0, RAW) } }
    true
  },
  'delete_many' => lambda { |q|
    $client.multi { q['keys'].each { |key| $client.delete(key) } }
    true
  },
  'gets' => lambda { |q|
    value, $unique[q['key']] = $client.get_cas(q['key'])
    text(value)
  },
  'cas' => lambda { |q|
    stored($client.set_cas(q['key'], q['value'], $unique[q['key']], q['exptime'], RAW))
  },
  'incr' => ->(q) { $client.incr(q['key'], q['delta']) },
  'decr' => ->(q) { $client.decr(q['key'], q['delta']) },
  'incr_initial' => ->(q) { $client.incr(q['key'], q['delta'], 0, q['initial']) },
  'touch' => ->(q) { $client.touch(q['key'], q['exptime']) ? true : false },
  'gat' => ->(q) { text($client.gat(q['key'], q['exptime'])) },
  'flush' => ->(_) { $client.flush.all? },
  'stats' => ->(_) { $client.stats.values[0] },
  'version' => ->(_) { $client.version.values[0] },
  'typed' => ->(_) { typed },
  'own' => ->(_) { own ? true : false }
}.freeze

def serve(request)
  request['value'] = request['value'].unpack1('m0') if request['value']
  request['values']&.transform_values! { |value| value.unpack1('m0') }
  { result: OPS[request['op']].call(request) }
rescue StandardError => e
  { error: "#{e.class}: #{e.message}" }
end

$stdout.sync = true
puts JSON.generate({ client: "dalli #{Dalli::VERSION}", ops: OPS.keys, keeps_line_ends: protocol != 'meta' })
$stdin.each_line { |line| puts JSON.generate(serve(JSON.parse(line))) }
