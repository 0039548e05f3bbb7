// Mails as objects in one program: what JSON makes of each, and the message and envelope that Nodemailer makes of it.
// {module, mails} on standard input, where {"$buffer": hex} stands for a Buffer and {"$date": text} for a Date.
"use strict";

const { module: place, mails } = JSON.parse(require("fs").readFileSync(0, "utf8"), (key, value) => {
    if (value && value.$buffer !== undefined) return Buffer.from(value.$buffer, "hex");
    if (value && value.$date !== undefined) return new Date(value.$date);
    return value;
});
const transport = require(place).createTransport({ streamTransport: true, buffer: true, newline: "windows" });

(async () => {
    const made = [];
    for (const mail of mails) {
        const json = JSON.stringify(mail); // before Nodemailer changes it
        const { message, envelope } = await transport.sendMail(mail);
        made.push({ json, envelope, message: message.toString("base64") });
    }
    console.log(JSON.stringify(made));
})();
