# Submits the message on standard input with Net::SMTP, DSN asked for.
#
# Where and how comes from the environment: PORT, TLS ("implicit" or "starttls"),
# AUTHORITY (a PEM file), LOGIN, PASSWORD, SENDER, RECIPIENT.
use strict;
use warnings;
use Net::SMTP;

my %tls = (SSL_ca_file => $ENV{AUTHORITY}, SSL_verifycn_name => 'localhost');
my $smtp = Net::SMTP->new(
    '127.0.0.1',
    Port    => $ENV{PORT},
    Hello   => 'client.example',
    Timeout => 30,
    SSL     => $ENV{TLS} eq 'implicit',
    %tls,
) or die "not connected: $@\n";

sub must {
    my ($done) = @_;
    die $smtp->code . ' ' . $smtp->message . "\n" unless $done;
}

must($smtp->starttls(%tls)) if $ENV{TLS} eq 'starttls';
must($smtp->auth($ENV{LOGIN}, $ENV{PASSWORD}));
must($smtp->mail($ENV{SENDER}, Bits => '8', Return => 'FULL', Envelope => 'perl 1'));
must($smtp->recipient($ENV{RECIPIENT}, { Notify => ['FAILURE', 'DELAY'] }));
binmode STDIN;
my @lines = <STDIN>;
must($smtp->data(@lines));
must($smtp->quit);
