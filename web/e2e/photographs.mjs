// Real photographs where the test data is, else one that the browser makes.
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const folder = join(process.env.WAYFARE_DATA ?? fileURLToPath(new URL('../../../shared/data', import.meta.url)), 'images');

/** A JPEG of several megabytes. */
export async function photograph(page) {
  const path = join(folder, 'photo-12mp.jpg');
  return { name: 'bacalhau.jpg', mimeType: 'image/jpeg', buffer: existsSync(path) ? await readFile(path) : await noise(page) };
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
