package main

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/xhit/go-str2duration/v2"
)

// Size is a number of bytes. Its text is a number and a unit in any case: B (or
// none), kB, MB, GB, TB are powers of 1000, KiB, MiB, GiB, TiB of 1024.
type Size int64

// sizeSyntax is narrower than what humanize reads: to it "5,5GB" is 55 GB, and
// "5G" is a power of 1000 where many tools take it for one of 1024.
var sizeSyntax = regexp.MustCompile(`(?i)^[0-9]+(\.[0-9]+)?\s*(([kmgtpe]i?)?b)?$`)

// UnmarshalText parses a size. A fraction of a byte is cut off.
func (s *Size) UnmarshalText(text []byte) error {
	if !sizeSyntax.Match(text) {
		return errors.New("is not a size")
	}
	n, err := humanize.ParseBytes(string(text))
	if err != nil || n > math.MaxInt64 {
		return errors.New("is too large")
	}
	*s = Size(n)
	return nil
}

// String writes s in the largest unit that needs no fraction. UnmarshalText
// reads it as s again.
func (s Size) String() string {
	n, unit := s, "B"
	for _, u := range []struct {
		size Size
		name string
	}{
		{humanize.KByte, "kB"}, {humanize.KiByte, "KiB"}, {humanize.MByte, "MB"}, {humanize.MiByte, "MiB"},
		{humanize.GByte, "GB"}, {humanize.GiByte, "GiB"}, {humanize.TByte, "TB"}, {humanize.TiByte, "TiB"},
	} {
		if s > 0 && s%u.size == 0 {
			n, unit = s/u.size, u.name
		}
	}
	return strconv.FormatInt(int64(n), 10) + unit
}

// Limit is a Size that may be absent: 0, written "none". The text "0" is
// refused, because it may be meant either way.
type Limit int64

// UnmarshalText parses a limit.
func (l *Limit) UnmarshalText(text []byte) error {
	if string(text) == "none" {
		*l = 0
		return nil
	}
	var s Size
	if err := s.UnmarshalText(text); err != nil {
		return err
	}
	if s == 0 {
		return errors.New(`allows nothing; "none" is no limit`)
	}
	*l = Limit(s)
	return nil
}

// String writes l so that UnmarshalText reads it as l again.
func (l Limit) String() string {
	if l == 0 {
		return "none"
	}
	return Size(l).String()
}

// Duration is a time span of 0 or more. Its text is that of time.Duration, with
// d for 24 hours and w for 7 days in addition.
type Duration time.Duration

// UnmarshalText parses a duration.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := str2duration.ParseDuration(string(text))
	if err != nil {
		return errors.New("is not a duration")
	}
	if v < 0 {
		return errors.New("must not be negative")
	}
	*d = Duration(v)
	return nil
}

// Set and Type make a Duration a flag of its own, besides the settings.
func (d *Duration) Set(text string) error { return d.UnmarshalText([]byte(text)) }

// Type is the word for the value in help texts.
func (d Duration) Type() string { return "duration" }

// String writes d so that UnmarshalText reads it as d again.
func (d Duration) String() string { return str2duration.String(time.Duration(d)) }

// List is text separated by commas, without the space around each. A setting
// that is not set is nil, one that is set to nothing is empty.
type List []string

// UnmarshalText parses a list.
func (l *List) UnmarshalText(text []byte) error {
	*l = List{}
	for item := range strings.SplitSeq(string(text), ",") {
		if item = strings.TrimSpace(item); item != "" {
			*l = append(*l, item)
		}
	}
	return nil
}

// String writes l so that UnmarshalText reads it as l again.
func (l List) String() string { return strings.Join(l, ", ") }

// Prefixes are networks, separated by commas; an address is a network of one.
type Prefixes []netip.Prefix

// UnmarshalText parses networks and addresses.
func (p *Prefixes) UnmarshalText(text []byte) error {
	var items List
	if err := items.UnmarshalText(text); err != nil {
		return err
	}
	for _, item := range items {
		prefix, err := netip.ParsePrefix(item)
		if addr, addrErr := netip.ParseAddr(item); addrErr == nil {
			addr = addr.Unmap()
			prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil {
			return fmt.Errorf("has %q, which is neither an address nor a network", item)
		}
		*p = append(*p, prefix.Masked())
	}
	return nil
}

// String writes p so that UnmarshalText reads it as p again.
func (p Prefixes) String() string {
	list := make(List, len(p))
	for i, prefix := range p {
		list[i] = prefix.String()
	}
	return list.String()
}

func atLeast[T cmp.Ordered](got, least T) error {
	if got < least {
		return fmt.Errorf("must be at least %v", least)
	}
	return nil
}

func oneOf(got string, choice ...string) error {
	if !slices.Contains(choice, got) {
		return fmt.Errorf("must be one of %s", strings.Join(choice, ", "))
	}
	return nil
}

func checkAddr(addr string) error {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		if !filepath.IsAbs(path) {
			return errors.New("must be unix: and an absolute path")
		}
		return nil
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return errors.New("is neither host:port, [IPv6]:port nor unix:/path")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return errors.New("must end in a port from 0 to 65535")
	}
	return nil
}

// parseBaseURL parses an address that paths are added to.
func parseBaseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return nil, errors.New("is not a URL that starts with https:// or http:// and a host")
	}
	if u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return nil, errors.New("must have no user, query or fragment")
	}
	return u, nil
}

// checkContentURL accepts another host than that of the pages: the same name
// with another scheme or port would get their cookies.
func checkContentURL(s, public string) error {
	if err := checkPublicURL(s); s == "" || err != nil {
		return err
	}
	if public == "" {
		return errors.New("needs UPLOAD_PUBLIC_URL, the address of the pages")
	}
	content, err1 := url.Parse(s)
	pages, err2 := url.Parse(public)
	if err1 == nil && err2 == nil && strings.EqualFold(content.Hostname(), pages.Hostname()) {
		return errors.New("must have another host name than UPLOAD_PUBLIC_URL")
	}
	return nil
}

// checkStaticURL accepts an address to which the name of a file is added.
func checkStaticURL(s string) error {
	u, err := url.Parse(s)
	if s != "" && (err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil ||
		u.RawQuery != "" || u.Fragment != "") {
		return errors.New("must be an http or https URL without query or user")
	}
	return nil
}

func checkPublicURL(s string) error {
	if s == "" {
		return nil
	}
	u, err := parseBaseURL(s)
	if err != nil {
		return err
	}
	if u.Path != "" {
		return errors.New("has a path; the service needs a host name of its own")
	}
	return nil
}

// checkGitHubURL insists on https, because tokens and the client secret are
// sent there. Within one machine nobody listens.
func checkGitHubURL(s string) error {
	u, err := parseBaseURL(s)
	if err != nil {
		return err
	}
	ip, _ := netip.ParseAddr(u.Hostname())
	if u.Scheme != "https" && u.Hostname() != "localhost" && !ip.IsLoopback() {
		return errors.New("must start with https://, unless the host is this machine")
	}
	return nil
}

// checkOrigins insists on the form that browsers send (RFC 6454, section 6.2):
// another one would never be equal to it.
func checkOrigins(origins List) error {
	for _, origin := range origins {
		if origin == "*" {
			if len(origins) > 1 {
				return errors.New("must be either * or a list")
			}
			return nil
		}
		u, err := parseBaseURL(origin)
		if err != nil || origin != u.Scheme+"://"+u.Host || strings.Contains(u.Host, "*") {
			return fmt.Errorf("has %q, which is not scheme://host or scheme://host:port", origin)
		}
	}
	return nil
}

var accountSyntax = regexp.MustCompile(`^(github:[0-9]+|[A-Za-z0-9_-]+)$`)

func checkAccounts(accounts List) error {
	for _, account := range accounts {
		if !accountSyntax.MatchString(account) {
			return fmt.Errorf("has %q, which is neither a login nor github:ID", account)
		}
	}
	return nil
}
