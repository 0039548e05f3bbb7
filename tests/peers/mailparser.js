// What mailparser, the reader by Nodemailer's author, makes of messages.
// {module, messages: [base64]} on standard input; on standard output a list with what it sees of each.
"use strict";

const { module: place, messages } = JSON.parse(require("fs").readFileSync(0, "utf8"));
const { simpleParser } = require(place);
const libmime = require(require.resolve("libmime", { paths: [place] }));

// Texts as they are: nothing is made of HTML, of links, of images.
const options = { skipHtmlToText: true, skipTextToHtml: true, skipTextLinks: true, keepCidLinks: true };

const person = ({ name, address, group }) => (group ? { name, group: group.map(person) } : { name, address });
const people = (field) => (field ? field.value.map(person) : []);
// It leaves fields that it doesn't know, and List-, for its users to decode.
const decoded = (value) => {
    if (typeof value === "string") return libmime.decodeWords(value);
    if (Array.isArray(value)) return value.map(decoded);
    if (!value || Object.getPrototypeOf(value) !== Object.prototype) return value;
    return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, decoded(one)]));
};

(async () => {
    const seen = [];
    for (const message of messages) {
        const mail = await simpleParser(Buffer.from(message, "base64"), options);
        seen.push({
            from: people(mail.from),
            to: people(mail.to),
            cc: people(mail.cc),
            replyTo: people(mail.replyTo),
            subject: mail.subject || "",
            text: mail.text || "",
            html: mail.html || "",
            files: mail.attachments.map((one) => ({
                kind: one.contentType,
                disposition: one.contentDisposition || "",
                filename: one.filename || "",
                cid: one.cid || "",
                related: Boolean(one.related),
                content: one.content.toString("base64"),
            })),
            headers: Object.fromEntries([...mail.headers].map(([name, value]) => [name, decoded(value)])),
        });
    }
    console.log(JSON.stringify(seen));
})();
