// Bundles what the pages load into static/dist: names carry a hash of the
// content, each file stands there plain and compressed, and manifest.json maps
// the plain names. Package static embeds the folder.
import { build } from 'esbuild'
import fs from 'node:fs'
import path from 'node:path'
import { createHash } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'

const here = path.dirname(fileURLToPath(import.meta.url))
const dist = path.join(here, 'dist')
for (const name of fs.readdirSync(dist)) {
  if (name !== '.gitkeep') fs.rmSync(path.join(dist, name), { recursive: true })
}

const result = await build({
  absWorkingDir: here,
  entryPoints: ['src/app.css', 'src/app.js', 'src/uploader.js'],
  outdir: 'dist',
  bundle: true,
  alias: { 'url-parse': './src/url.js' },
  minify: true,
  format: 'esm',
  target: ['es2022', 'chrome123', 'firefox121', 'safari17.5'],
  entryNames: '[name].[hash]',
  legalComments: 'none', // licenses.txt has them
  metafile: true,
  logLevel: 'warning',
})

const manifest = {}
for (const [file, output] of Object.entries(result.metafile.outputs)) {
  const name = path.basename(file)
  manifest[path.basename(output.entryPoint)] = name
}

// The licenses of what was bundled go with it.
const bundled = new Set()
for (const input of Object.keys(result.metafile.inputs)) {
  const found = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input)
  if (found) bundled.add(found[1])
}
let licenses = ''
for (const name of [...bundled].sort()) {
  const folder = path.join(here, '..', 'node_modules', name)
  const { version, license } = JSON.parse(fs.readFileSync(path.join(folder, 'package.json')))
  const file = fs.readdirSync(folder).find((f) => /^licen[cs]e/i.test(f))
  const text = file ? fs.readFileSync(path.join(folder, file), 'utf8').trim() : ''
  licenses += `${name} ${version} (${license})\n\n${text}\n\n`
}
const hash = createHash('sha256').update(licenses).digest('hex').slice(0, 8).toUpperCase()
manifest['licenses.txt'] = `licenses.${hash}.txt`
fs.writeFileSync(path.join(dist, manifest['licenses.txt']), licenses)

for (const name of Object.values(manifest)) {
  const content = fs.readFileSync(path.join(dist, name))
  fs.writeFileSync(path.join(dist, name + '.gz'), gzipSync(content, { level: 9 }))
  fs.writeFileSync(path.join(dist, name + '.br'), brotliCompressSync(content, {
    params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: content.length },
  }))
}
fs.writeFileSync(path.join(dist, 'manifest.json'), JSON.stringify(manifest, null, 1) + '\n')
