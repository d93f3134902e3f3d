package views

import (
	"fmt"
	"html/template"
	"math"
	"path"
	"strings"
	"time"

	"upload-service/views/text"
)

// functions are what templates may call.
var functions = template.FuncMap{
	"t": text.Get, "icon": icon, "bytes": Bytes, "limit": Limit, "when": when, "date": date, "head": head, "tail": tail,
	"ticks": ticks, "paragraphs": paragraphs,
}

// Bytes writes a size with three digits, in the units of 1,000 that files are
// counted in, for example 47.5 MB. The space does not break.
func Bytes(n int64) string {
	units := []string{"bytes", "kB", "MB", "GB", "TB", "PB", "EB"}
	size, unit := float64(max(0, n)), 0
	for size >= 999.5 && unit < len(units)-1 {
		size, unit = size/1000, unit+1
	}
	digits := 0
	if unit > 0 && size < 100 {
		digits = 2 - int(math.Log10(max(1, size*1.0005)))
	}
	number := fmt.Sprintf("%.*f", digits, size)
	if strings.Contains(number, ".") {
		number = strings.TrimRight(strings.TrimRight(number, "0"), ".")
	}
	if n == 1 {
		return "1\u00a0byte"
	}
	return number + "\u00a0" + units[unit]
}

// Limit writes a size as an operator set it: exactly, if it is a round number
// in units of 1,024, for example 5 GiB.
func Limit(n int64) string {
	for i, unit := range []string{"TiB", "GiB", "MiB"} {
		if size := int64(1) << (40 - 10*i); n >= size && n%size == 0 {
			return fmt.Sprintf("%d\u00a0%s", n/size, unit)
		}
	}
	return Bytes(n)
}

// when is a moment: the day, and exactly in the tooltip. Scripts write it as
// the reader's clock shows it.
func when(t time.Time) template.HTML {
	t = t.UTC()
	return template.HTML(fmt.Sprintf(`<time datetime="%s" title="%s">%s</time>`,
		t.Format(time.RFC3339), date(t), t.Format("2\u00a0Jan\u00a02006")))
}

// icon is a drawing of the sprite; the words stand beside it or in a label.
func icon(name string, class ...string) template.HTML {
	return template.HTML(fmt.Sprintf(`<svg class="i %s" aria-hidden="true"><use href="#i-%s"/></svg>`,
		strings.Join(class, " "), name))
}

// tail is the end of a name that stays visible when the name is cut: the
// extension and three characters before it. head is what may be cut.
func tail(name string) string {
	stem := strings.TrimSuffix(name, path.Ext(name))
	if len(path.Ext(name)) > 12 || stem == "" {
		stem = name
	}
	runes := []rune(stem)
	return string(runes[max(0, len(runes)-3):]) + name[len(stem):]
}

func head(name string) string { return strings.TrimSuffix(name, tail(name)) }

// Kind is what sort of file something is, for its tile.
type Kind struct{ Class, Icon string }

// FolderKind is that of a folder.
var FolderKind = Kind{"dir", "folder"}

// KindOf judges by the media type.
func KindOf(mediaType string) Kind {
	kind, sub, _ := strings.Cut(mediaType, "/")
	sub, _, _ = strings.Cut(sub, ";")
	switch {
	case kind == "image":
		return Kind{"img", "img"}
	case kind == "video", kind == "audio":
		return Kind{"vid", "vid"}
	case sub == "pdf", strings.Contains(sub, "document"), sub == "msword", sub == "rtf":
		return Kind{"doc", "doc"}
	case strings.HasSuffix(sub, "zip"), strings.Contains(sub, "tar"), strings.Contains(sub, "compressed"),
		sub == "csv", strings.Contains(sub, "sheet"), strings.Contains(sub, "excel"):
		return Kind{"zip", "zip"}
	case kind == "text", strings.Contains(sub, "json"), strings.Contains(sub, "xml"), strings.Contains(sub, "script"):
		return Kind{"code", "code"}
	}
	return Kind{"any", "doc"}
}

func date(t time.Time) string { return t.UTC().Format("2 Jan 2006, 15:04 UTC") }
