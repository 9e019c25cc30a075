# Reads messages with Perl's mail modules: a message in base64 on each line of the
# standard input, what each module finds as JSON on a line of the standard output.
use strict;
use warnings;
use Email::Address::XS ();    # the address parser of Dovecot
use Email::MIME ();
use JSON::PP ();
use MIME::Base64 ();
use Mail::Address ();
use Mail::Header ();

local $SIG{__WARN__} = sub { };
$| = 1;
my $json = JSON::PP->new->ascii->canonical;

while (my $line = <STDIN>) {
    my $message = MIME::Base64::decode_base64($line);
    my $mime = Email::MIME->new($message)->header_obj;
    my $tools = Mail::Header->new([$message =~ /\G([^\n]*\n)/g], Modify => 0);
    my @dovecot = map {
        [map { $_->address } Email::Address::XS->parse($_)]
    } $mime->header_raw('From');
    my @tools = map {
        [map { $_->address } Mail::Address->parse($_)]
    } $tools->get('From');
    print $json->encode({
        'Email::MIME' => {
            authors  => \@dovecot,
            bcc      => scalar(my @blind = $mime->header_raw('Bcc')),
            received => scalar($mime->header_raw('Received')),
        },
        'MailTools' => {
            authors  => \@tools,
            bcc      => scalar(my @hidden = $tools->get('Bcc')),
            received => scalar($tools->get('Received')),
        },
    }), "\n";
}
