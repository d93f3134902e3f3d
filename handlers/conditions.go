package handlers

import (
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"upload-service/store"
)

// condition reads the preconditions of a request that changes a file
// (RFC 9110, 13.1.1 to 13.1.4). Weak tags never match strongly.
func condition(c *fiber.Ctx) (cond store.Condition, err error) {
	if v := listed(c, fiber.HeaderIfMatch); v != "" {
		tags, star, err := parseETags(v)
		if err != nil {
			return cond, store.FieldErrorf(fiber.HeaderIfMatch, "If-Match is * or a list of ETags in quotes.")
		}
		cond.Exists = star
		if !star {
			cond.Match = strong(tags)
		}
	} else if t, ok := httpTime(c.Get(fiber.HeaderIfUnmodifiedSince)); ok {
		cond.NotSince = t
	}
	if v := listed(c, fiber.HeaderIfNoneMatch); v != "" {
		tags, star, err := parseETags(v)
		if err != nil {
			return cond, store.FieldErrorf(fiber.HeaderIfNoneMatch, "If-None-Match is * or a list of ETags in quotes.")
		}
		cond.Absent = star
		for _, tag := range tags {
			cond.Differ = append(cond.Differ, strings.TrimPrefix(tag, "W/"))
		}
	}
	return cond, nil
}

// listed is a field that is a list, which may come in several lines (RFC 9110,
// 5.3).
func listed(c *fiber.Ctx, field string) string { return strings.Join(lines(c, field), ", ") }

// once refuses fields that come twice and may not: only one of them would count.
func once(c *fiber.Ctx, fields ...string) error {
	for _, name := range fields {
		if len(c.Request().Header.PeekAll(name)) > 1 {
			return store.FieldErrorf(name, "%s is given twice; send it once.", name)
		}
	}
	return nil
}

func strong(tags []string) []string {
	list := []string{} // not nil: a list that matches nothing is a condition
	for _, tag := range tags {
		if !strings.HasPrefix(tag, "W/") {
			list = append(list, tag)
		}
	}
	return list
}

var errETag = store.Errorf(store.CodeInvalid, "An ETag is written in quotes.")

// parseETags reads "*" or a comma-separated list of entity tags, which may
// contain commas themselves (RFC 9110, 8.8.3).
func parseETags(s string) (tags []string, star bool, err error) {
	s = strings.TrimSpace(s)
	if s == "*" {
		return nil, true, nil
	}
	for {
		s = strings.TrimLeft(s, " \t,")
		if s == "" {
			break
		}
		start := 0
		if strings.HasPrefix(s, "W/") {
			start = 2
		}
		if len(s) <= start || s[start] != '"' {
			return nil, false, errETag
		}
		end := strings.IndexByte(s[start+1:], '"')
		if end < 0 {
			return nil, false, errETag
		}
		end += start + 2
		tags = append(tags, s[:end])
		s = strings.TrimLeft(s[end:], " \t")
		if s != "" && s[0] != ',' {
			return nil, false, errETag
		}
	}
	if len(tags) == 0 {
		return nil, false, errETag
	}
	return tags, false, nil
}

// outcome of the conditions of a GET.
type outcome int

const (
	send outcome = iota
	notModified
	failed
)

// evaluate decides about a GET or HEAD in the order of RFC 9110, 13.2.2. A
// field that does not parse is ignored.
func evaluate(c *fiber.Ctx, etag string, modified time.Time) outcome {
	if v := listed(c, fiber.HeaderIfMatch); v != "" {
		if tags, star, err := parseETags(v); err == nil && !star && !slices.Contains(strong(tags), etag) {
			return failed
		}
	} else if t, ok := httpTime(c.Get(fiber.HeaderIfUnmodifiedSince)); ok && modified.After(t) {
		return failed
	}
	if v := listed(c, fiber.HeaderIfNoneMatch); v != "" {
		tags, same, err := parseETags(v)
		for _, tag := range tags {
			same = same || strings.TrimPrefix(tag, "W/") == etag
		}
		if err == nil && same {
			return notModified
		}
	} else if t, ok := httpTime(c.Get(fiber.HeaderIfModifiedSince)); ok && !modified.After(t) {
		return notModified
	}
	return send
}

// httpTime reads an HTTP date. Times of files are cut to the second before
// they are compared with it.
func httpTime(s string) (time.Time, bool) {
	t, err := time.Parse(timeFormat, s)
	return t, err == nil
}

// timeFormat is the one date format that is still sent (RFC 9110, 5.6.7).
const timeFormat = "Mon, 02 Jan 2006 15:04:05 GMT"
