// Real photographs where the test data is, else one that the browser makes.
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { crc32, deflateSync } from 'node:zlib';

const folder = join(process.env.WAYFARE_DATA ?? fileURLToPath(new URL('../../../shared/data', import.meta.url)), 'images');

/** A JPEG of several megabytes. */
export async function photograph(page) {
  const path = join(folder, 'photo-12mp.jpg');
  return { name: 'bacalhau.jpg', mimeType: 'image/jpeg', buffer: existsSync(path) ? await readFile(path) : await noise(page) };
}

/** The bytes of a large picture, another for each number, without a browser: the photograph with a comment in it, or a PNG of noise. */
export async function pictureOnDisk(number) {
  const path = join(folder, 'photo-12mp.jpg');
  if (!existsSync(path)) return noisePng(1_200, 900, number);
  return commented(await readFile(path), number);
}

/** The JPEG with a comment after its first marker. */
export function commented(jpeg, number) {
  return Buffer.concat([jpeg.subarray(0, 2), Buffer.from([0xff, 0xfe, 0, 3, number]), jpeg.subarray(2)]);
}

function noisePng(width, height, seed) {
  const chunk = (type, data) => {
    const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
    const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
    length.writeUInt32BE(data.length);
    sum.writeUInt32BE(crc32(body));
    return Buffer.concat([length, body, sum]);
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  // Eight bits each of red, green and blue.
  header.set([8, 2, 0, 0, 0], 8);
  const rows = Buffer.alloc(height * (1 + 3 * width));
  let random = seed;
  for (let at = 0; at < rows.length; at += 1) {
    random = (Math.imul(random, 1_103_515_245) + 12_345) | 0;
    // The first byte of a row says how it is filtered: not at all.
    rows[at] = at % (1 + 3 * width) === 0 ? 0 : (random >> 16) & 255;
  }
  const signature = Buffer.from('89504e470d0a1a0a', 'hex');
  return Buffer.concat([signature, chunk('IHDR', header), chunk('IDAT', deflateSync(rows)), chunk('IEND', Buffer.alloc(0))]);
}

/** A wide picture: red on the left, blue on the right, something green between. */
export async function halves(page) {
  const base64 = await page.evaluate(async () => {
    const canvas = new OffscreenCanvas(1_500, 500);
    const context = canvas.getContext('2d');
    for (const [at, colour] of ['#e01010', '#10c010', '#1010e0'].entries()) {
      context.fillStyle = colour;
      context.fillRect(at * 500, 0, 500, 500);
    }
    const blob = await canvas.convertToBlob({ type: 'image/jpeg', quality: 0.9 });
    return btoa(String.fromCharCode(...new Uint8Array(await blob.arrayBuffer())));
  });
  return { name: 'mousse.jpg', mimeType: 'image/jpeg', buffer: Buffer.from(base64, 'base64') };
}

/** What a phone makes that was not told otherwise. */
export async function heic() {
  const path = join(folder, 'phone.heic');
  // The beginning says what it is, the rest is not looked at.
  const made = Buffer.concat([Buffer.from('\0\0\0\x18ftypheic\0\0\0\0mif1heic', 'latin1'), Buffer.alloc(4_096)]);
  return { name: 'IMG_0042.HEIC', mimeType: 'image/heic', buffer: existsSync(path) ? await readFile(path) : made };
}

async function noise(page) {
  const base64 = await page.evaluate(async () => {
    const canvas = new OffscreenCanvas(2_400, 1_800);
    const context = canvas.getContext('2d');
    const pixels = context.createImageData(canvas.width, canvas.height);
    let random = 7;
    for (let at = 0; at < pixels.data.length; at += 1) {
      random = (Math.imul(random, 1_103_515_245) + 12_345) | 0;
      pixels.data[at] = at % 4 === 3 ? 255 : (random >> 16) & 255;
    }
    context.putImageData(pixels, 0, 0);
    const blob = await canvas.convertToBlob({ type: 'image/jpeg', quality: 0.9 });
    const url = await new Promise((resolve) => {
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result);
      reader.readAsDataURL(blob);
    });
    return url.slice(url.indexOf(',') + 1);
  });
  return Buffer.from(base64, 'base64');
}
