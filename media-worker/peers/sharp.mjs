// sharp as the pipeline's peer: an order is a line of JSON, and so is its answer. One thread, nothing kept from one picture to the next.
//
// The photograph is decoded once, into the pixels of the widest variant; the others are made from those, each width once for both formats. That is sharp's fastest
// way to six files: clone() would decode for each of them, and one pipeline has one output. libjpeg shrinks while it decodes, as it does for us.
import { createInterface } from "node:readline";
import { writeFile } from "node:fs/promises";
import sharp from "sharp";

sharp.concurrency(1);
sharp.cache(false);

const raw = ({ data, info }) => sharp(data, { raw: { width: info.width, height: info.height, channels: info.channels } });
const pixels = (pipeline) => pipeline.raw().toBuffer({ resolveWithObject: true });

async function variants({ path, sizes, jpegQuality, webpQuality, webpEffort }) {
  const made = [];
  let picture;
  for (const [width, height] of sizes) {
    // Without withMetadata() nothing but pixels goes on, and a profile in the file is converted to sRGB.
    const from = picture ? raw(picture) : sharp(path).autoOrient().flatten({ background: "white" }).toColourspace("srgb");
    picture = await pixels(from.resize(width, height, { fit: "cover", position: "centre" }));
    made.push({ width, format: "jpeg", bytes: await raw(picture).jpeg({ quality: jpegQuality, chromaSubsampling: "4:2:0" }).toBuffer() });
    made.push({ width, format: "webp", bytes: await raw(picture).webp({ quality: webpQuality, effort: webpEffort }).toBuffer() });
  }
  return made;
}

console.log(JSON.stringify({ sharp: sharp.versions.sharp, vips: sharp.versions.vips, node: process.versions.node }));
for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  const made = await variants(order);
  if (order.folder) {
    await Promise.all(made.map(({ width, format, bytes }) => writeFile(`${order.folder}/${width}.${format}`, bytes)));
  }
  console.log(JSON.stringify(made.map(({ width, format, bytes }) => ({ width, format, bytes: bytes.length }))));
}
