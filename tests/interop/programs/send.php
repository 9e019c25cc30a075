<?php
/**
 * Submits a message that PHPMailer writes, with the text on standard input as its body.
 *
 * Where and how comes from the environment: PORT, TLS ("implicit" or "starttls"),
 * AUTHORITY (a PEM file), LOGIN, PASSWORD, SENDER, RECIPIENT, SUBJECT.
 */

require 'libphp-phpmailer/autoload.php';

use PHPMailer\PHPMailer\PHPMailer;

$mail = new PHPMailer(true);
$mail->isSMTP();
$mail->Host = 'localhost';
$mail->Port = (int) getenv('PORT');
$mail->SMTPSecure = getenv('TLS') === 'implicit'
    ? PHPMailer::ENCRYPTION_SMTPS
    : PHPMailer::ENCRYPTION_STARTTLS;
$mail->SMTPOptions = ['ssl' => ['cafile' => getenv('AUTHORITY')]];
$mail->SMTPAuth = true;
$mail->Username = getenv('LOGIN');
$mail->Password = getenv('PASSWORD');
$mail->CharSet = PHPMailer::CHARSET_UTF8;
$mail->Encoding = PHPMailer::ENCODING_8BIT;
$mail->dsn = 'SUCCESS,FAILURE';
$mail->setFrom(getenv('SENDER'), 'Älice');
$mail->addAddress(getenv('RECIPIENT'));
$mail->Subject = getenv('SUBJECT');
$mail->Body = stream_get_contents(STDIN);
$mail->addStringAttachment("\0\1\2 .\r\n", 'octets.bin');
$mail->send();
