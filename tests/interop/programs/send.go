// Command send submits the message on its standard input with Go's net/smtp.
//
// Where and how comes from the environment: PORT, TLS ("implicit" or "starttls"),
// AUTHORITY (a PEM file), LOGIN, PASSWORD, SENDER, RECIPIENT.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net/smtp"
	"os"
)

func connect(host string, settings *tls.Config) (*smtp.Client, error) {
	address := host + ":" + os.Getenv("PORT")
	if os.Getenv("TLS") == "implicit" {
		connection, err := tls.Dial("tcp", address, settings)
		if err != nil {
			return nil, err
		}
		return smtp.NewClient(connection, host)
	}
	client, err := smtp.Dial(address)
	if err != nil {
		return nil, err
	}
	return client, client.StartTLS(settings)
}

func send() error {
	const host = "localhost"
	authority, err := os.ReadFile(os.Getenv("AUTHORITY"))
	if err != nil {
		return err
	}
	trusted := x509.NewCertPool()
	if !trusted.AppendCertsFromPEM(authority) {
		return errors.New("no certificate in AUTHORITY")
	}
	client, err := connect(host, &tls.Config{ServerName: host, RootCAs: trusted})
	if err != nil {
		return err
	}
	defer client.Close()
	login := smtp.PlainAuth("", os.Getenv("LOGIN"), os.Getenv("PASSWORD"), host)
	if err := client.Auth(login); err != nil {
		return err
	}
	if err := client.Mail(os.Getenv("SENDER")); err != nil {
		return err
	}
	if err := client.Rcpt(os.Getenv("RECIPIENT")); err != nil {
		return err
	}
	content, err := client.Data()
	if err != nil {
		return err
	}
	if _, err := io.Copy(content, os.Stdin); err != nil {
		return err
	}
	if err := content.Close(); err != nil {
		return err
	}
	return client.Quit()
}

func main() {
	log.SetFlags(0)
	if err := send(); err != nil {
		log.Fatal(err)
	}
}
