// Uploads a file with tus-js-client in Node, as the job in the first argument
// says, and prints what happens: one JSON object a line.
import fs from 'node:fs'
import { PassThrough } from 'node:stream'
import * as tus from 'tus-js-client'

const job = JSON.parse(process.argv[2])
const say = (event, more) => fs.writeSync(1, JSON.stringify({ event, ...more }) + '\n')

const options = {
  endpoint: job.endpoint,
  headers: { Authorization: `Bearer ${job.key}` },
  chunkSize: job.chunkSize ?? Infinity,
  retryDelays: Array(60).fill(job.retryDelay ?? 100),
  metadata: job.metadata ?? {},
  urlStorage: new tus.FileUrlStorage(job.storage),
  onUploadUrlAvailable: () => say('url', { url: upload.url }),
  onShouldRetry: (error, attempt) => {
    say('retry', { attempt, status: error.originalResponse?.getStatus() ?? 0 })
    const status = error.originalResponse?.getStatus() ?? 0
    return status < 400 || status >= 500 || status === 409 || status === 423
  },
  onAfterResponse: (req, res) => {
    const token = res.getHeader('Upload-Token')
    if (token) say('token', { token })
  },
  onError: (error) => {
    say('error', { message: error.message })
    process.exit(1)
  },
  onSuccess: () => {
    say('success', { url: upload.url })
    process.exit(0)
  },
  onProgress: (sent) => {
    if (job.stopAt && sent >= job.stopAt) {
      job.stopAt = 0
      if (job.terminate) {
        upload.abort(true).then(() => { say('terminated'); process.exit(0) })
      } else {
        say('stopped')
        process.exit(0) // like a closed tab
      }
    }
  },
}
if (job.parallel) {
  options.parallelUploads = job.parallel
  options.metadataForPartialUploads = {}
}
if (job.override) options.overridePatchMethod = true
if (job.protocol) options.protocol = job.protocol
if (job.deferred) options.uploadLengthDeferred = true

// A stream of unknown length is a pipe: of a file the client would ask the size.
// Of a file in pieces it does not tell the IETF's protocol which one is the
// last; in memory, and in a browser, it does.
function source() {
  if (job.protocol) return fs.readFileSync(job.file)
  const file = fs.createReadStream(job.file)
  return job.deferred ? file.pipe(new PassThrough()) : file
}
const upload = new tus.Upload(source(), options)
if (job.resume) {
  const previous = await upload.findPreviousUploads()
  say('previous', { count: previous.length })
  if (previous.length > 0) upload.resumeFromPreviousUpload(previous[0])
}
upload.start()
