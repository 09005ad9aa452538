#!/usr/bin/perl
# Starts a program with sockets that are handed over to it.
#
#   handing-over.pl listen PATH[,PATH...] PROGRAM...   descriptors 3, 4, ... listen; as systemd does it
#   handing-over.pl accept PATH PROGRAM...             descriptor 3 is the first client of this path
#   handing-over.pl other PROGRAM...                   descriptor 3 is a UDP socket
use strict;
use warnings;
use POSIX ();
use Socket;

my $kind = shift @ARGV;
my @paths = $kind eq 'other' ? ('') : split /,/, shift @ARGV;
my $place = 3;
# The program inherits what this one has open; perl itself keeps nothing above 2.
$^F = 1000;
my @kept;
for my $path (@paths) {
    my $socket;
    if ($kind eq 'other') {
        socket($socket, PF_INET, SOCK_DGRAM, 0) or die "socket: $!";
    } else {
        socket(my $listening, PF_UNIX, SOCK_STREAM, 0) or die "socket: $!";
        bind($listening, sockaddr_un($path)) or die "$path: $!";
        listen($listening, 5) or die "listen: $!";
        if ($kind eq 'accept') {
            accept($socket, $listening) or die "accept: $!";
            push @kept, $listening;
        } else {
            $socket = $listening;
        }
    }
    push @kept, $socket;
    # Out of the way of the numbers that are to be.
    my $high = POSIX::dup2(fileno($socket), 500 + $place) // die "dup2: $!";
    $place++;
}
for my $number (3 .. $place - 1) { POSIX::dup2(500 + $number, $number) // die "dup2: $!"; POSIX::close(500 + $number) }
if ($kind eq 'listen') {
    $ENV{LISTEN_FDS} = @paths;
    $ENV{LISTEN_PID} = $$;
    $ENV{LISTEN_FDNAMES} = join ':', map { my $name = $_; $name =~ s{.*/}{}; $name } @paths;
}
exec @ARGV or die "$ARGV[0]: $!";
