#!/usr/bin/perl
# An example, to be changed, in whatever language: serves the model of train.pl. Lines of CSV are answered with
# a number each. An endpoint listens on 8080; it answers GET /ping with 200, and POST /invocations.
use strict;
use warnings;
use IO::Socket::INET;

my $opt_ml = $ENV{SMEXEC_OPT_ML} || '/opt/ml';
open my $model, '<', "$opt_ml/model/weights" or die "model: $!\n";
my ($intercept, @weights) = split /,/, <$model>;

my $server = IO::Socket::INET->new(
    LocalPort => $ENV{SAGEMAKER_BIND_TO_PORT} || 8080,
    Listen    => 64,
    ReuseAddr => 1,
) or die "$@\n";

$SIG{TERM} = sub { exit 0 };
$SIG{PIPE} = 'IGNORE';
while (1) {
    my $client = $server->accept or next;
    my ($method, $path) = split / /, <$client> // '';
    my $length = 0;
    while (defined(my $line = <$client>)) {
        last if $line =~ /^\r?$/;
        $length = $1 if $line =~ /^content-length:\s*(\d+)/i;
    }
    read($client, my $body, $length);
    my ($status, $said) = answer($method // '', $path // '', $body);
    printf $client "HTTP/1.1 %s\r\nContent-Type: text/csv\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
        $status, length $said, $said;
    close $client;
}

sub answer {
    my ($method, $path, $body) = @_;
    return ('200 OK', '') if $method eq 'GET' && $path eq '/ping';
    return ('404 Not Found', "no $path\n") unless $method eq 'POST' && $path eq '/invocations';
    my $said = '';
    for my $line (split /\r?\n/, $body) {
        my @row = split /,/, $line;
        return ('400 Bad Request', 'rows must have ' . @weights . " columns\n") unless @row == @weights;
        my $value = $intercept;
        $value += $weights[$_] * $row[$_] for 0 .. $#weights;
        $said .= "$value\n";
    }
    return ('200 OK', $said);
}
