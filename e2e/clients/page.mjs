// The page of another site that uploads to the service from a browser. Each
// function returns what the test looks at.
import * as FilePond from 'filepond'
import * as tus from 'tus-js-client'
import Uppy from '@uppy/core'
import Dashboard from '@uppy/dashboard'
import Tus from '@uppy/tus'

const input = () => document.querySelector('#file')
const auth = (job) => ({ Authorization: `Bearer ${job.key}` })

// tus uploads the file of the input, and resumes what an earlier page began.
window.tusUpload = (job) =>
  new Promise((resolve, reject) => {
    let token
    const upload = new tus.Upload(input().files[0], {
      endpoint: `${job.url}/tus/`,
      headers: auth(job),
      chunkSize: job.chunkSize ?? Infinity,
      parallelUploads: job.parallel ?? 1,
      retryDelays: Array(60).fill(100),
      onAfterResponse: (req, res) => { token = res.getHeader('Upload-Token') ?? token },
      onChunkComplete: (size, accepted) => {
        if (job.stopAt && accepted >= job.stopAt) {
          upload.abort().then(() => resolve({ url: upload.url, stopped: accepted }))
        }
      },
      onError: reject,
      onSuccess: () => resolve({ url: upload.url, token }),
    })
    upload.findPreviousUploads().then((previous) => {
      if (previous.length > 0) upload.resumeFromPreviousUpload(previous[0])
      upload.start()
    })
  })

// uppyOpen shows the dashboard; the test then uses it with the mouse.
window.uppyOpen = (job) => {
  const uppy = new Uppy()
    .use(Dashboard, { inline: true, target: '#app' })
    .use(Tus, { endpoint: `${job.url}/tus/`, headers: auth(job), chunkSize: job.chunkSize ?? Infinity, retryDelays: Array(60).fill(100) })
  window.uppyDone = new Promise((resolve) => {
    uppy.on('complete', (result) =>
      resolve({ urls: result.successful.map((f) => f.uploadURL), failed: result.failed.map((f) => f.error) }))
  })
}

// pondOpen makes the input a FilePond one.
window.pondOpen = (job) => {
  window.pondErrors = []
  window.pond = FilePond.create(input(), {
    server: { url: `${job.url}/filepond`, headers: auth(job) },
    allowMultiple: Boolean(job.files),
    chunkUploads: Boolean(job.chunkSize),
    chunkForce: Boolean(job.chunkSize),
    chunkSize: job.chunkSize,
    chunkRetryDelays: Array(60).fill(100),
    files: (job.files ?? []).map(([source, type]) => ({ source, options: { type } })),
    onerror: (error) => window.pondErrors.push(error.body ?? String(error.type)),
  })
}

// pondState is what a submitted form would carry, and what is shown.
window.pondState = () => ({
  values: [...document.querySelectorAll('input[type=hidden][name=filepond]')].map((i) => i.value).filter(Boolean),
  files: window.pond.getFiles().map((f) => ({ name: f.filename, size: f.fileSize, status: f.status, id: f.serverId })),
  errors: window.pondErrors,
  status: FilePond.FileStatus,
})
