#!/usr/bin/ruby
# SPDX-License-Identifier: Apache-2.0
# rails_cache: Rails' cache and Rack's sessions, both in memcached through dalli.
#
#     rails_cache.rb HOST PORT

begin
  require 'active_support'
  require 'active_support/cache'
  require 'active_support/cache/mem_cache_store'
  require 'dalli'
  require 'rack'
  require 'rack/session/dalli'
  require 'webrick'
rescue LoadError => e
  warn "ruby-activesupport, ruby-rack or ruby-webrick is not installed: #{e.message}"
  exit 77
end

Dalli.logger = Logger.new(File::NULL)
ADDRESS = ARGV.join(':')
STORE = ActiveSupport::Cache::MemCacheStore.new(ADDRESS, expires_in: 600)
$rendered = 0

def render(name)
  $rendered += 1
  "#{name}, rendered as number #{$rendered}\n" + name * 3000
end

def drawer
  many = (1..100).to_h { |i| ["many#{i}", { i => [nil, 'grün' * i] }] }
  {
    none: STORE.read('none'),
    write: !!STORE.write('a', [1, 2.5, 'grün'], expires_in: 700),
    read: STORE.read('a'),
    unless_exist: [!!STORE.write("a", 1, unless_exist: true), !!STORE.write("b", 1, unless_exist: true)],
    increment: [!!STORE.write("n", 5, raw: true), STORE.increment('n', 2), STORE.decrement('n'), STORE.read('n', raw: true)],
    write_multi: STORE.write_multi(many).size,
    read_multi: STORE.read_multi(*many.keys, 'none') == many,
    fetch_multi: STORE.fetch_multi('a', 'made') { |name| "#{name} now" },
    delete: [STORE.delete('b'), STORE.delete('b')],
    exist: [STORE.exist?('a'), STORE.exist?('b')],
    long: [!!STORE.write("long", 'x' * 900_000), STORE.read('long').size],
    too_long: [!!STORE.write("large", Random.new(1).bytes(2_000_000)), STORE.read('large').nil?],
    stats: STORE.stats.values[0]['curr_items'],
    clear: [STORE.clear, STORE.read('a')]
  }.inspect
end

def answer(request)
  session = request.session
  _, what, name = request.path_info.split('/')
  case what
  when 'page' then STORE.fetch("page/#{name}") { render(name) }
  when 'basket' then (session['things'] = (session['things'] || []) + [name]).join(', ')
  when 'renew' then (session.options[:renew] = true) && 'renewed'
  when 'leave' then session.destroy && 'bye'
  when 'drawer' then drawer
  end
end

site = lambda do |environment|
  [200, { 'Content-Type' => 'text/plain' }, [answer(Rack::Request.new(environment)).to_s]]
end
sessions = Rack::Session::Dalli.new(site, memcache_server: ADDRESS, expire_after: 600)
quiet = WEBrick::Log.new(File::NULL)
server = WEBrick::HTTPServer.new(BindAddress: '127.0.0.1', Port: 0, Logger: quiet, AccessLog: [])
server.mount('/', Rack::Handler::WEBrick, sessions)
trap('TERM') { server.shutdown }
$stdout.sync = true
puts "http://127.0.0.1:#{server.listeners[0].addr[1]}"
server.start
