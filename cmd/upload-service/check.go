package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/dustin/go-humanize"

	"upload-service/auth"
	"upload-service/store"
)

// check checks the data of a stopped service and prints what it finds, a line
// each. An error means that the check could not be finished.
func check(ctx context.Context, p *program, opts store.CheckOptions) (findings int64, err error) {
	q, err := openStopped(p, false)
	if err != nil {
		return 0, err
	}
	say := func(o store.Outcome, sentence string) {
		fmt.Fprintf(p.stdout, "%-8s %s\n", o+":", sentence)
	}
	// What a damaged file says about the rest means nothing.
	err = q.kv.Verify(func(mistake error) {
		findings++
		say(store.Found, fmt.Sprintf("The metadata file is damaged: %v.", mistake))
	})
	if err != nil || findings > 0 {
		return findings, errors.Join(err, q.close())
	}
	sum, err := store.Check(ctx, q.opts, opts, say)
	if err == nil {
		err = auth.Check(ctx, q.kv, opts.Repair, func(mended bool, sentence string) {
			if mended {
				say(store.Mended, sentence)
				return
			}
			sum.Findings++
			say(store.Found, sentence)
		})
	}
	if err = errors.Join(err, q.close()); err != nil {
		return 0, err
	}
	_, err = fmt.Fprintf(p.stdout, "%d owners, %d files, %d uploads, %d contents of %s: %d findings.\n",
		sum.Owners, sum.Files, sum.Uploads, sum.Blobs, humanize.IBytes(uint64(sum.Bytes)), sum.Findings)
	return sum.Findings, err
}
