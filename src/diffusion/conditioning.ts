/** What SDXL is told of a picture besides its text (Podell et al. 2023, section 2.2). */

/** Sizes in pixels. */
export interface PictureConditioning {
  /** Of the file, before it was resized. */
  readonly originalHeightPx: number;
  readonly originalWidthPx: number;
  /** Where the crop begins in the resized picture. */
  readonly cropTopPx: number;
  readonly cropLeftPx: number;
  /** Of the picture that is trained on or made. */
  readonly targetHeightPx: number;
  readonly targetWidthPx: number;
}

/** The six numbers in the order that SDXL expects; their sinusoidal embedding is the model's. */
export function sdxlTimeIds(picture: PictureConditioning): Float32Array {
  const { originalHeightPx, originalWidthPx, cropTopPx, cropLeftPx, targetHeightPx, targetWidthPx } = picture;
  return Float32Array.of(originalHeightPx, originalWidthPx, cropTopPx, cropLeftPx, targetHeightPx, targetWidthPx);
}
