// Sends one message by Nodemailer: {module, transport, message} on standard input, the server's answer on standard output.
"use strict";

const { module: place, transport, message } = JSON.parse(require("fs").readFileSync(0, "utf8"));

require(place)
    .createTransport(transport)
    .sendMail(message)
    .then((sent) => console.log(sent.response))
    .catch((error) => {
        console.error(error.response || error.message);
        process.exitCode = 1;
    });
