package handlers

import (
	"strings"

	"github.com/gofiber/fiber/v2"

	"upload-service/auth"
)

// family is a name, and what in a User-Agent means it.
type family struct{ sign, name string }

// The first sign that is found counts: most browsers also call themselves
// Chrome, Safari, or both, and Android calls itself Linux.
var (
	browserFamilies = []family{
		{"Edg", "Edge"}, {"OPR/", "Opera"}, {"OPT/", "Opera"}, {"SamsungBrowser/", "Samsung Internet"}, {"Vivaldi/", "Vivaldi"},
		{"YaBrowser/", "Yandex Browser"}, {"DuckDuckGo/", "DuckDuckGo"}, {"Ddg/", "DuckDuckGo"}, {"Firefox/", "Firefox"}, {"FxiOS/", "Firefox"},
		{"CriOS/", "Chrome"}, {"Chromium/", "Chromium"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"},
	}
	systemFamilies = []family{
		{"Android", "Android"}, {"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Windows", "Windows"}, {"CrOS", "ChromeOS"},
		{"Macintosh", "macOS"}, {"OpenBSD", "OpenBSD"}, {"FreeBSD", "FreeBSD"}, {"Linux", "Linux"},
	}
)

// browserOf reads the User-Agent. Only names of ours come of it, whatever it
// says.
func browserOf(c *fiber.Ctx) auth.Browser {
	agent := c.Get(fiber.HeaderUserAgent)
	return auth.Browser{Family: familyIn(agent, browserFamilies), System: familyIn(agent, systemFamilies)}
}

func familyIn(agent string, families []family) string {
	for _, f := range families {
		if strings.Contains(agent, f.sign) {
			return f.name
		}
	}
	return ""
}
