// Stands in for url-parse, which tus-js-client brings for what browsers have:
// there a base may be relative to the page.
export default function url(link, base) {
  return new URL(link, new URL(base, location))
}
