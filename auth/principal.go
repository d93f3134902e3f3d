package auth

import (
	"slices"

	"upload-service/store"
)

// Scope is one thing that a credential allows.
type Scope string

// The scopes. Admin counts only while the owner is an admin.
const (
	Read   Scope = "read"   // list and download
	Write  Scope = "write"  // upload, persist, change
	Delete Scope = "delete" // remove files
	Admin  Scope = "admin"  // the admin routes
)

// Scopes is a set.
type Scopes []Scope

// AllScopes is what a session or a GitHub token has.
var AllScopes = Scopes{Read, Write, Delete, Admin}

// ParseScopes reads a list of scopes. An empty list means read, write and
// delete.
func ParseScopes(names []string) (Scopes, error) {
	if len(names) == 0 {
		return Scopes{Read, Write, Delete}, nil
	}
	var list Scopes
	for _, name := range names {
		if !slices.Contains(AllScopes, Scope(name)) {
			return nil, store.FieldErrorf("scopes", "The scopes are read, write, delete and admin.")
		}
		list = append(list, Scope(name))
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

// Has reports whether the set has a scope.
func (s Scopes) Has(scope Scope) bool { return slices.Contains(s, scope) }

// within reports whether other has every scope of s.
func (s Scopes) within(other Scopes) bool {
	return !slices.ContainsFunc(s, func(scope Scope) bool { return !other.Has(scope) })
}

func (s Scopes) without(scope Scope) Scopes {
	return slices.DeleteFunc(slices.Clone(s), func(x Scope) bool { return x == scope })
}

func (s Scopes) and(other Scopes) Scopes {
	return slices.DeleteFunc(slices.Clone(s), func(x Scope) bool { return !other.Has(x) })
}

// Principal is who makes a request, and what the credential allows.
type Principal struct {
	Owner  store.Owner
	Scopes Scopes
	KeyID  string // of the API key that was used, "" otherwise

	token, from string // of GitHub, and who sent it; "" otherwise
}

// Can reports whether the principal may do what a scope stands for.
func (p Principal) Can(scope Scope) bool { return p.Scopes.Has(scope) }
