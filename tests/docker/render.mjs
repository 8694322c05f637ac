// Renders Go templates: reads {"templates": [...], "given": {...}} and writes the texts, as JSON. Its argument is the
// main file of the npm package @evertdespiegeleer/go-template.
const { parse } = await import(process.argv[2]);
let text = "";
for await (const part of process.stdin) text += part;
const { templates, given } = JSON.parse(text);
const rendered = [];
for (const template of templates) rendered.push(await parse(template, given));
console.log(JSON.stringify(rendered));
process.exit();
