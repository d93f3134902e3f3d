package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"

	"upload-service/auth"
	"upload-service/store"
)

// sweep removes what is due from the data of a stopped service and prints a
// report. What could not be removed is an error, and does not stop the rest.
func sweep(ctx context.Context, p *program, opts store.SweepOptions) error {
	return offline(ctx, p, func(st *store.Store, _ *auth.Service) error {
		report, err := st.Sweep(ctx, opts)
		if err != nil {
			return err
		}
		for _, i := range report.Items {
			fmt.Fprintf(p.stdout, "%s %s of %s, %s: %s\n", i.Kind, i.ID, i.Owner, humanize.IBytes(uint64(i.Bytes)), i.Reason)
		}
		verb := "Removed"
		if opts.DryRun {
			verb = "Would remove"
		}
		fmt.Fprintf(p.stdout, "%s %d uploads and %d contents of %s.\n", verb, report.Uploads, report.Blobs, humanize.IBytes(uint64(report.Bytes)))
		if len(report.Errors) > 0 {
			return fmt.Errorf("left because they could not be removed:\n%s", strings.Join(report.Errors, "\n"))
		}
		return nil
	})
}
