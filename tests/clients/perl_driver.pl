#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# Perl's two clients, Cache::Memcached::Fast (word: fast) and Cache::Memcached (word: plain), both of
# the text protocol. steps.py says what a driver is.
use strict;
use warnings;
use JSON::XS;
use MIME::Base64;

my ($host, $port, $which) = @ARGV;
my $class = $which eq 'fast' ? 'Cache::Memcached::Fast' : 'Cache::Memcached';
if (!eval "require $class; 1") {
    print STDERR "$class is not installed\n";
    exit 77;
}
$| = 1;

my $json = JSON::XS->new->canonical;
my $client = $class->new({ servers => ["$host:$port"],
                           $which eq 'fast' ? (max_size => 4 << 20)
                                            : (compress_enable => 0) });
my %unique;

sub text { my ($value) = @_; return defined $value ? encode_base64($value, '') : undef }
sub truth { return $_[0] ? JSON::XS::true : JSON::XS::false }
sub number { my ($value) = @_; return defined $value && $value ne '' ? 0 + $value : undef }

my %ops = (
    get => sub { text($client->get($_[0]{key})) },
    set => sub { truth($client->set(@{ $_[0] }{qw(key value exptime)})) },
    add => sub { truth($client->add(@{ $_[0] }{qw(key value exptime)})) },
    replace => sub { truth($client->replace(@{ $_[0] }{qw(key value exptime)})) },
    append => sub { truth($client->append(@{ $_[0] }{qw(key value)})) },
    prepend => sub { truth($client->prepend(@{ $_[0] }{qw(key value)})) },
    delete => sub { truth($client->delete($_[0]{key})) },
    incr => sub { number($client->incr(@{ $_[0] }{qw(key delta)})) },
    decr => sub { number($client->decr(@{ $_[0] }{qw(key delta)})) },
    get_many => sub {
        my $found = $client->get_multi(@{ $_[0]{keys} });
        return { map { $_ => text($found->{$_}) } keys %$found };
    },
    typed => sub {
        my $kept = { list => [1, 2, 3], word => "x" };
        return truth($client->set('t', $kept) && $client->get('t')->{list}[2] == 3);
    },
);
if ($which eq 'fast') {
    %ops = (
        %ops,
        gets => sub {
            my $found = $client->gets($_[0]{key});
            $unique{ $_[0]{key} } = $found ? $found->[0] : 0;
            return $found ? text($found->[1]) : undef;
        },
        cas => sub {
            my ($key, $value, $exptime) = @{ $_[0] }{qw(key value exptime)};
            return truth($client->cas($key, $unique{$key}, $value, $exptime));
        },
        set_many => sub {
            my $values = $_[0]{values};
            my $done = $client->set_multi(map { [$_, $values->{$_}] } keys %$values);
            return truth(!grep { !$_ } values %$done);
        },
        delete_many => sub {
            my $done = $client->delete_multi(@{ $_[0]{keys} });
            return truth(!grep { !$_ } values %$done);
        },
        touch => sub { truth($client->touch(@{ $_[0] }{qw(key exptime)})) },
        gat => sub { text($client->gat(@{ $_[0] }{qw(exptime key)})) },
        flush => sub { truth((values %{ $client->flush_all })[0]) },
        own => sub {
            $client->set_multi(['a', 1], ['b', 2]);
            my $found = $client->gets_multi('a', 'b', 'none');
            my $counted = $client->incr_multi(['a', 10], 'b', ['none', 1]);
            my $touched = $client->touch_multi(['a', 100], ['none', 100]);
            my $gat = $client->gat_multi(100, 'a', 'b');
            return truth(keys %$found == 2 && $counted->{a} == 11 && $counted->{b} == 3 && $touched->{a} &&
                         $gat->{b} == 3 && $client->append_multi(['a', 'x'])->{a} && $client->get('a') eq '11x');
        },
        version => sub { (values %{ $client->server_versions })[0] },
    );
} else {
    %ops = (
        %ops,
        flush => sub { truth($client->flush_all) },
        stats => sub { (values %{ $client->stats(['misc'])->{hosts} })[0]{misc} },
    );
}

sub serve {
    my ($request) = @_;
    $request->{value} = decode_base64($request->{value}) if defined $request->{value};
    $_ = decode_base64($_) for values %{ $request->{values} // {} };
    my $result = eval { [$ops{ $request->{op} }->($request)] };
    return $result ? { result => $result->[0] } : { error => "$@" };
}

print $json->encode({ client => "$class " . $class->VERSION, ops => [sort keys %ops] }), "\n";
while (my $line = <STDIN>) {
    print $json->encode(serve($json->decode($line))), "\n";
}
