/** How near vectors are. */

/** The cosine of the angle between two vectors; 0 where one has no length. */
export function cosine(one, other) {
  let [product, ones, others] = [0, 0, 0];
  for (let place = 0; place < one.length; place += 1) {
    product += one[place] * other[place];
    ones += one[place] ** 2;
    others += other[place] ** 2;
  }
  return ones && others ? product / Math.sqrt(ones * others) : 0;
}
