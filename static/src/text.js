// fill puts values into the %s of a text. The texts stand with all others in
// views/text; a bundle has those of them that it names.
export const fill = (pattern, ...values) => pattern.replace(/%s/g, () => values.shift())
