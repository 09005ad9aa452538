#!/usr/bin/perl
# leaving.pl PATH: a client of nvme-server with memory that only messages reach.  It leaves when the controller asks for the
# first command, without answering.
use strict;
use warnings;
use Socket;

socket(my $socket, PF_UNIX, SOCK_STREAM, 0) or die "socket: $!";
connect($socket, sockaddr_un($ARGV[0])) or die "$ARGV[0]: $!";

sub receive {
    my $message = '';
    while (length $message < 16 || length $message < unpack 'x4 V', $message) {
        my $wanted = length $message < 16 ? 16 : unpack 'x4 V', $message;
        sysread $socket, $message, $wanted - length $message, length $message or die "the server is gone: $!";
    }
    return $message;
}

my $id = 0;
sub request {
    my ($command, $payload) = @_;
    syswrite $socket, pack('v v V V V', ++$id, $command, 16 + length $payload, 0, 0) . $payload;
    my ($answered, $flags) = unpack 'v x6 V', receive();
    die "command $command failed" unless $answered == $id && $flags == 1;
}

# REGION_WRITE to BAR0.
sub put { request(10, pack('Q< V V a*', $_[0], 0, length $_[1], $_[1])) }

request(1, pack 'v v', 0, 1);
request(2, pack 'V V Q< Q< Q<', 32, 3, 0, 1 << 20, 1 << 20);
put(0x24, pack 'V', 0x000f_000f);
put(0x28, pack 'Q<', 1 << 20);
put(0x30, pack 'Q<', (1 << 20) + 4096);
put(0x14, pack 'V', 0x0046_0001);
put(0x1000, pack 'V', 1);
my ($command, $flags) = unpack 'x2 v x4 V', receive();
die 'not asked for memory' unless $command == 11 && $flags == 0;
