#!/usr/bin/perl
# An example, to be changed, in whatever language: predicts the last column of CSV files from the others, by
# gradient descent. It goes in rounds, so that a job that is stopped in the middle has a model all the same.
use strict;
use warnings;

$| = 1;
my $opt_ml  = $ENV{SMEXEC_OPT_ML} || '/opt/ml';
my $stopped = 0;
$SIG{TERM} = sub { $stopped = 1 };
$SIG{__DIE__} = sub { # why the job failed
    open my $file, '>', "$opt_ml/output/failure" or return;
    print $file @_;
};

# {"rounds": "100"}: a number in JSON within JSON.
open my $json, '<', "$opt_ml/input/config/hyperparameters.json" or die "hyperparameters: $!\n";
my $hyperparameters = do { local $/; <$json> };
my $rounds = $hyperparameters =~ /"rounds":\s*"(-?[0-9]+)"/ ? $1 : 200;
die "rounds must be at least 1, not $rounds\n" if $rounds < 1;

my (@x, @y);
for my $name (glob "$opt_ml/input/data/train/*") {
    open my $file, '<', $name or die "$name: $!\n";
    while (<$file>) {
        next unless /^[-+.0-9]/; # the header
        my @row = split /,/;
        push @y, pop @row;
        push @x, [1, @row];
    }
}
die "the channel train has no rows\n" unless @y;

my @weights = (0) x @{ $x[0] };
my $round   = 0;
while ($round < $rounds && !$stopped) {
    my @slope = (0) x @weights;
    my $squares = 0;
    for my $row (0 .. $#y) {
        my $error = -$y[$row];
        $error += $weights[$_] * $x[$row][$_] for 0 .. $#weights;
        $slope[$_] += $error * $x[$row][$_] for 0 .. $#weights;
        $squares += $error**2;
    }
    $weights[$_] -= 0.1 * $slope[$_] / @y for 0 .. $#weights;
    $round++;
    printf "round %d: rmse=%.4f\n", $round, sqrt($squares / @y) unless $round & ($round - 1); # 1, 2, 4, 8
}
print "stopped after round $round\n" if $stopped;

# The model, and what serves it.
mkdir "$opt_ml/model/code";
system('cp', 'serve.pl', "$opt_ml/model/code/serve") == 0 or die "serve.pl cannot be copied\n";
open my $model, '>', "$opt_ml/model/weights" or die "model: $!\n";
print $model join(',', @weights), "\n";
close $model or die "model: $!\n";
