package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"upload-service/auth"
	"upload-service/store"
)

// withOwner runs fn on a stopped service, for the owner with that slug.
func withOwner(ctx context.Context, p *program, slug string, fn func(*auth.Service, store.OwnerID) error) error {
	return offline(ctx, p, func(st *store.Store, au *auth.Service) error {
		o, err := st.OwnerBySlug(ctx, slug)
		if store.CodeOf(err) == store.CodeNotFound {
			return unknownOwner(ctx, st, slug)
		}
		if err != nil {
			return err
		}
		return fn(au, o.ID)
	})
}

// unknownOwner names some who are known.
func unknownOwner(ctx context.Context, st *store.Store, slug string) error {
	list, _, err := st.ListOwners(ctx, 10, "")
	if err != nil {
		return err
	}
	hint := "one is made when somebody signs in for the first time"
	var slugs []string
	for _, a := range list {
		slugs = append(slugs, a.Owner.Slug)
	}
	if len(slugs) > 0 {
		hint += "; known are, for example, " + strings.Join(slugs, ", ")
	}
	return hinted{fmt.Errorf("there is no owner %q", slug), hint}
}

// listKeys prints the keys of the owner with that slug.
func listKeys(ctx context.Context, p *program, owner string) error {
	return withOwner(ctx, p, owner, func(au *auth.Service, o store.OwnerID) error {
		keys, err := au.ListKeys(ctx, o)
		for _, k := range keys {
			var scopes []string
			for _, s := range k.Scopes {
				scopes = append(scopes, string(s))
			}
			used, expires := "never used", "never expires"
			if !k.LastUsedAt.IsZero() {
				used = "used " + k.LastUsedAt.UTC().Format(time.RFC3339)
			}
			if !k.ExpiresAt.IsZero() {
				expires = "expires " + k.ExpiresAt.UTC().Format(time.RFC3339)
			}
			fmt.Fprintf(p.stdout, "%s  %s  made %s  %s  %s  %s\n",
				k.ID, strings.Join(scopes, ","), k.CreatedAt.UTC().Format(time.RFC3339), used, expires, k.Name)
		}
		if err == nil && len(keys) == 0 {
			fmt.Fprintln(p.stdout, "No keys.")
		}
		return err
	})
}

// newKey makes a key and prints it.
func newKey(ctx context.Context, p *program, req keyRequest) error {
	scopes, err := auth.ParseScopes(req.Scopes)
	if err != nil {
		return err
	}
	return withOwner(ctx, p, req.Owner, func(au *auth.Service, o store.OwnerID) error {
		_, secret, err := au.MintKey(ctx, o, auth.KeySpec{Name: req.Name, Scopes: scopes, ExpiresIn: time.Duration(req.ExpiresIn)})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(p.stdout, secret)
		return err
	})
}

// revokeKey revokes the key with that id.
func revokeKey(ctx context.Context, p *program, owner, id string) error {
	return withOwner(ctx, p, owner, func(au *auth.Service, o store.OwnerID) error {
		if err := au.DropKey(ctx, o, id); err != nil {
			return err
		}
		_, err := fmt.Fprintf(p.stdout, "The key %s is revoked.\n", id)
		return err
	})
}
