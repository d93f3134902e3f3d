// Sizes, times and names as the server writes them (views/format.go).
import * as text from '../../views/text/script.json'
import { fill } from './text.js'

const units = ['bytes', 'kB', 'MB', 'GB', 'TB', 'PB']

export function bytes(n) {
  let size = Math.max(0, n)
  let unit = 0
  while (size >= 999.5 && unit < units.length - 1) {
    size /= 1000
    unit++
  }
  if (n === 1) return '1\u00a0byte'
  return `${unit ? Number(size.toPrecision(3)) : Math.round(size)}\u00a0${units[unit]}`
}

// duration is rounded as far as a guess about the network deserves.
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return ''
  if (seconds < 60) return fill(text.seconds, Math.max(5, Math.ceil(seconds / 5) * 5))
  if (seconds < 3600) return fill(text.minutes, Math.ceil(seconds / 60))
  return fill(text.hours, Math.ceil(seconds / 360) / 10)
}

// split cuts a name in front of the end that stays visible.
export function split(name) {
  const dot = name.lastIndexOf('.')
  const stem = dot > 0 && name.length - dot <= 12 ? name.slice(0, dot) : name
  const at = [...stem].slice(0, -3).join('').length
  return [name.slice(0, at), name.slice(at)]
}

export function kind(type) {
  const [top, sub = ''] = type.split('/')
  if (top === 'image') return { tile: 'img', icon: 'img' }
  if (top === 'video' || top === 'audio') return { tile: 'vid', icon: 'vid' }
  if (/pdf|document|msword|rtf/.test(sub)) return { tile: 'doc', icon: 'doc' }
  if (/zip|tar|compressed|csv|sheet|excel/.test(sub)) return { tile: 'zip', icon: 'zip' }
  if (top === 'text' || /json|xml|script/.test(sub)) return { tile: 'code', icon: 'code' }
  return { tile: 'any', icon: 'doc' }
}
