// The texts of scripts stand with all others in views/text.
import script from '../../views/text/script.json'

export { script }

// fill puts values into the %s of a text.
export const fill = (pattern, ...values) => pattern.replace(/%s/g, () => values.shift())
