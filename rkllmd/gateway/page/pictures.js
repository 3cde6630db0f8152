// Pictures as they are sent: JPEG in a data URL, no larger than a vision model on a board can see.

const LONGEST_SIDE = 1024; // pixels
const QUALITY = 0.85;

// Throws an Error with a sentence where a file is no picture that this browser can read.
export async function scaled(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error(`${file.name || "This"} is no picture that this browser can read.`);
  }
  const scale = Math.min(1, LONGEST_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const paper = canvas.getContext("2d");
  paper.fillStyle = "#fff"; // JPEG knows nothing of transparency
  paper.fillRect(0, 0, canvas.width, canvas.height);
  paper.imageSmoothingQuality = "high";
  paper.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return canvas.toDataURL("image/jpeg", QUALITY);
}

// The pictures among what was pasted or dropped.
export function among(transfer) {
  return Array.from(transfer?.files ?? []).filter((file) => file.type.startsWith("image/"));
}
