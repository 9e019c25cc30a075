// Submits the message on standard input with nodemailer, DSN asked for.
//
// Where and how comes from the environment: PORT, TLS ("implicit" or "starttls"),
// AUTHORITY (a PEM file), LOGIN, PASSWORD, SENDER, RECIPIENT.
"use strict";

const fs = require("fs");
const nodemailer = require("nodemailer");

const { PORT, TLS, AUTHORITY, LOGIN, PASSWORD, SENDER, RECIPIENT } = process.env;

const transport = nodemailer.createTransport({
    host: "localhost",
    port: Number(PORT),
    secure: TLS === "implicit",
    requireTLS: TLS === "starttls",
    tls: { ca: fs.readFileSync(AUTHORITY) },
    auth: { user: LOGIN, pass: PASSWORD },
});

transport
    .sendMail({
        envelope: { from: SENDER, to: RECIPIENT, use8BitMime: true },
        raw: fs.readFileSync(0),
        dsn: { id: "node+1", return: "headers", notify: ["success", "failure"], recipient: SENDER },
    })
    .then(() => transport.close())
    .catch((error) => {
        console.error(error.response || error);
        process.exit(1);
    });
