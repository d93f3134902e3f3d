package store

import (
	"regexp"
	"strings"
	"time"
)

// OwnerID names an account that files belong to: "local", or "github:" and
// the numeric account id. It never changes, unlike a login, and every right
// is decided by it.
type OwnerID string

// LocalOwner is the one owner of local mode.
const LocalOwner OwnerID = "local"

var ownerSyntax = regexp.MustCompile(`^(local|github:[1-9][0-9]{0,18})$`)

// ParseOwnerID accepts "local" and "github:<id>".
func ParseOwnerID(s string) (OwnerID, error) {
	if !ownerSyntax.MatchString(s) {
		return "", FieldErrorf("owner", "An owner is written local or github:<numeric id>.")
	}
	return OwnerID(s), nil
}

// Owner is the record of an account. Slug names it in URLs and folders: the
// login as first seen, immutable. Login is the login as last seen, for
// display only.
type Owner struct {
	ID        OwnerID   `json:"id"`
	Slug      string    `json:"slug"`
	Login     string    `json:"login"`
	CreatedAt time.Time `json:"created_at"`
}

// reservedSlugs cannot be taken as they are: "me" stands for the caller and
// "local" for the owner of local mode. A login "me" gets "me~<id>".
var reservedSlugs = map[string]bool{"me": true, "local": true}

// slugKey is how slugs are compared: without case.
func slugKey(slug string) string { return strings.ToLower(slug) }
