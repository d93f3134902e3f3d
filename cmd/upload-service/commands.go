package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"upload-service/store"
)

// Exit codes. "check" follows fsck and grep: 1 is a finding, 2 is trouble.
const (
	exitOK     = 0
	exitFailed = 1 // what was asked for did not work, or check found something
	exitUsage  = 2 // wrong arguments or settings, or check could not run
)

// failed is an error with the exit code 1. Any other one is 2.
type failed struct{ error }

func (f failed) Unwrap() error { return f.error }

// hinted is an error and what to do about it.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }

// run executes the command that args name and returns the exit code. It reads
// settings from environ and .env, and ends early when ctx is done.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	p := &program{args: args, environ: environ, stdout: stdout, stderr: stderr}
	root := p.root()
	root.SetArgs(append([]string{}, args...)) // nil would be the arguments of the process
	err := noPanic(func() error { return root.ExecuteContext(ctx) })
	if err == nil {
		return exitOK
	}
	if c, ok := errors.AsType[crash](err); ok {
		stderr.Write(c.stack)
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintln(stderr, "upload-service: error:", line)
	}
	if h, ok := errors.AsType[hinted](err); ok {
		fmt.Fprintln(stderr, "upload-service: hint:", h.hint)
	}
	if _, ok := errors.AsType[failed](err); ok {
		return exitFailed
	}
	return exitUsage
}

// noPanic turns a panic into an error. Metadata with a damaged page causes them,
// wherever it is read first.
func noPanic(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = hinted{crash{p, debug.Stack()},
				"the metadata may be damaged: upload-service check looks at all of it. If it is not, please report the lines above"}
		}
	}()
	return fn()
}

// crash is what a panic said, and where it was.
type crash struct {
	reason any
	stack  []byte
}

func (c crash) Error() string { return fmt.Sprint("panic: ", c.reason) }

// program is one run of the binary.
type program struct {
	args, environ  []string
	stdout, stderr io.Writer

	cfg Config       // set by load
	log *slog.Logger // set by load; writes to stderr
}

func (p *program) root() *cobra.Command {
	serve := p.serve()
	root := &cobra.Command{
		Use:   "upload-service",
		Short: "Take uploads, keep them safe, hand them to your app",
		Long: `Upload Service takes uploads from browsers, curl and programs, keeps them as
temporary uploads under a token, and makes them permanent when your form is
submitted. Without a command it serves.`,
		Example: `  upload-service
  upload-service serve --help
  upload-service check --content`,
		Args:                       noCommand,
		RunE:                       serve.RunE,
		SilenceErrors:              true, // run prints them
		SilenceUsage:               true,
		CompletionOptions:          cobra.CompletionOptions{DisableDefaultCmd: true},
		SuggestionsMinimumDistance: 2,
	}
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.SetFlagErrorFunc(flagError)
	root.Version = version
	root.SetVersionTemplate(about())
	addSettings(root.Flags())
	root.Flags().VisitAll(func(f *pflag.Flag) { f.Hidden = true }) // "serve --help" shows them
	root.AddCommand(serve, p.check(), p.sweep(), p.adopt(), p.keys(), p.healthcheck(), p.version())
	return root
}

func (p *program) serve() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the service",
		Long: `Run the service until SIGINT or SIGTERM, then let running requests end within
UPLOAD_SHUTDOWN_GRACE. A second signal ends it at once.

Each setting is a flag, a variable of the environment (UPLOAD_ADDR for
--upload-addr) or a line of the file .env in the working directory, in this
order. Sizes are written 5GiB or 5GB, durations 90m or 7d. Secrets have no flag,
because everybody on the machine can see a command line.`,
		Example: `  upload-service serve
  upload-service serve --upload-addr :9000 --upload-dir /srv/uploads
  UPLOAD_OWNER_QUOTA=1TB upload-service serve`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := p.load(cmd); err != nil {
				return err
			}
			return work(serve(cmd.Context(), p))
		},
	}
	addSettings(cmd.Flags())
	return cmd
}

func (p *program) check() *cobra.Command {
	var opts store.CheckOptions
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Compare records, counters, bytes and the visible tree",
		Long: `Compare everything below UPLOAD_DIR: records, indexes, counters, contents and
the visible tree. The service must be stopped. No record of a file and no
content is changed, and what follows from the records only with --repair: the
visible tree, indexes and counters. What an earlier process left in the
service's own folder for temporary copies goes, as at every start.

The exit code is 0 if all is well, 1 if something was found and 2 if the check
could not run.`,
		Example: `  upload-service check
  upload-service check --content --repair`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := p.load(cmd); err != nil {
				return err
			}
			findings, err := check(cmd.Context(), p, opts)
			if err == nil && findings > 0 {
				return failed{fmt.Errorf("the check has findings: %d", findings)}
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&opts.Content, "content", false, "read every byte and compare its SHA-256")
	cmd.Flags().BoolVar(&opts.Repair, "repair", false, "make the visible tree, indexes and counters equal to the records")
	addSettings(cmd.Flags(), "upload-dir", "upload-visible-tree")
	return cmd
}

func (p *program) sweep() *cobra.Command {
	var opts store.SweepOptions
	cmd := &cobra.Command{
		Use:   "sweep",
		Short: "Remove what expired, was abandoned or replaced",
		Long: `Remove temporary uploads that expired, files whose time to be restored is over,
and contents that nothing holds. The service does this itself every
UPLOAD_CLEANUP_INTERVAL; the command is for a stopped one. As at every start, what
a crash left half done is put in order first, also with --dry-run.`,
		Example: `  upload-service sweep --dry-run
  upload-service sweep`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := p.load(cmd); err != nil {
				return err
			}
			return work(sweep(cmd.Context(), p, opts))
		},
	}
	cmd.Flags().BoolVar(&opts.DryRun, "dry-run", false, "only tell what would be removed, and why")
	addSettings(cmd.Flags(), "upload-dir", "upload-temporary-ttl", "upload-undo", "upload-visible-tree")
	return cmd
}

func (p *program) adopt() *cobra.Command {
	var req adoptRequest
	cmd := &cobra.Command{
		Use:   "adopt",
		Short: "Take over files that have no record",
		Long: `Take over the folder of the earlier service: <login>/<path> become files, and
<login>/<uuid>/<name> temporary uploads with that token and 30 days to live. Only
what cannot be linked is copied. The service does this itself at its first start
on a folder; the command is for a stopped one.

GitHub is asked which account has a login. What nobody is known to own stays
unclaimed, and only admins see it, until --owner says whose it is: the number
that https://api.github.com/users/LOGIN calls id, or local.`,
		Example: `  upload-service adopt --dry-run
  upload-service adopt --owner octocat=583231`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			claims, err := parseClaims(req.Owners)
			if err != nil {
				return hinted{err, "for example --owner octocat=583231"}
			}
			if err := p.load(cmd); err != nil {
				return err
			}
			if p.cfg.Local() && slices.ContainsFunc(claims, func(c claim) bool { return c.to != store.LocalOwner }) {
				fmt.Fprintln(p.stderr, "upload-service: warning: with files of a GitHub account the service only starts",
					"with GITHUB_CLIENT_ID and GITHUB_CLIENT_SECRET set; --owner LOGIN=local gives them to the owner of local mode")
			}
			if req.DryRun {
				return work(previewAdoption(cmd.Context(), p, claims))
			}
			return work(adopt(cmd.Context(), p, claims))
		},
	}
	cmd.Flags().BoolVar(&req.DryRun, "dry-run", false, "only tell what would be done, and what would be left")
	cmd.Flags().StringArrayVar(&req.Owners, "owner", nil, "LOGIN=ID: give what is unclaimed to an account")
	addSettings(cmd.Flags(), "upload-dir", "github-url", "github-api-url", "upload-min-free", "upload-visible-tree")
	return cmd
}

// keyRequest is what the "keys" commands are asked for.
type keyRequest struct {
	Owner     string // slug
	Name      string
	Scopes    []string // none: all but admin
	ExpiresIn Duration // 0: never
}

func (p *program) keys() *cobra.Command {
	var req keyRequest
	keys := &cobra.Command{
		Use:   "keys",
		Short: "List, make and revoke API keys",
		Long: `List, make and revoke the API keys of an owner, for example when the last one was
lost. The service must be stopped; a running one has /api/v1/keys.`,
		Example: `  upload-service keys list
  upload-service keys new --name laptop`,
		Args: noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return hinted{errors.New("keys needs a command"), "list, new or revoke"}
		},
		SuggestionsMinimumDistance: 2,
	}
	keys.PersistentFlags().StringVar(&req.Owner, "owner", "local",
		"owner of the keys, as in the URLs of files")
	addSettings(keys.PersistentFlags(), "upload-dir")

	list := &cobra.Command{
		Use:   "list",
		Short: "List the keys of an owner",
		Long: `List the keys of an owner with id, scopes, times and name. A key itself is never
shown again.`,
		Example: "  upload-service keys list --owner octocat",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := p.load(cmd); err != nil {
				return err
			}
			return work(listKeys(cmd.Context(), p, req.Owner))
		},
	}
	create := &cobra.Command{
		Use:     "new",
		Short:   "Make a key and print it",
		Long:    "Make a key for an owner and print it, this once.",
		Example: "  upload-service keys new --name backup --scopes read --expires-in 90d",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := p.load(cmd); err != nil {
				return err
			}
			return work(newKey(cmd.Context(), p, req))
		},
	}
	create.Flags().StringVar(&req.Name, "name", "", "name of the key, to know it by")
	create.Flags().StringSliceVar(&req.Scopes, "scopes", nil, "what it may do: read, write, delete, admin (default read,write,delete)")
	create.Flags().Var(&req.ExpiresIn, "expires-in", "life of the key such as 90d; 0s is for ever")
	revoke := &cobra.Command{
		Use:     "revoke ID",
		Short:   "Revoke a key",
		Long:    "Revoke a key and the keys that were made with it. The id is the one that list shows.",
		Example: "  upload-service keys revoke q6hw3tkzv2mdo5ya",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return hinted{errors.New("revoke needs the id of one key"), "upload-service keys list shows the ids"}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := p.load(cmd); err != nil {
				return err
			}
			return work(revokeKey(cmd.Context(), p, req.Owner, args[0]))
		},
	}
	keys.AddCommand(list, create, revoke)
	return keys
}

func (p *program) healthcheck() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Exit 0 if the service answers",
		Long: `Ask the service at UPLOAD_ADDR whether it is alive, for three seconds at most.
The exit code is 0 if it is.`,
		Example: `  upload-service healthcheck
  HEALTHCHECK CMD ["upload-service", "healthcheck"]`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := p.load(cmd); err != nil {
				return err
			}
			return work(healthcheck(cmd.Context(), p.cfg, p.stdout))
		},
	}
	addSettings(cmd.Flags(), "upload-addr", "upload-tls-cert", "upload-tls-key")
	return cmd
}

func (p *program) version() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print what this binary is",
		Long:    "Print the version, the commit and the Go version of this binary.",
		Example: "  upload-service version",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := io.WriteString(p.stdout, about())
			return work(err)
		},
	}
}

// load reads the settings for a command, prints the warnings and sets cfg and
// log.
func (p *program) load(cmd *cobra.Command) error {
	flags := map[string]string{}
	for _, s := range settings() {
		if f := cmd.Flags().Lookup(s.flag()); f != nil && f.Changed {
			flags[s.name] = f.Value.String()
		}
	}
	cfg, warnings, err := Load(flags, p.environ, ".env")
	for _, w := range warnings {
		fmt.Fprintln(p.stderr, "upload-service: warning:", w)
	}
	if err != nil {
		return hinted{err, "upload-service serve --help explains every setting"}
	}
	p.cfg, p.log = cfg, newLogger(cfg, p.stderr)
	return nil
}

// addSettings adds a flag for each setting that is not a secret. Flags are
// text: Load parses all sources alike. With names, the help shows only those;
// the others are taken all the same, since a command runs with the settings of
// the service.
func addSettings(flags *pflag.FlagSet, shown ...string) {
	flags.SortFlags = false
	for _, s := range settings() {
		if s.secret {
			continue
		}
		flags.String(s.flag(), s.value, s.help)
		flags.Lookup(s.flag()).Hidden = shown != nil && !slices.Contains(shown, s.flag())
	}
}

// work marks an error of the work itself, in contrast to one of its arguments.
func work(err error) error {
	if err != nil {
		return failed{err}
	}
	return nil
}

// noCommand refuses an argument where a command is expected.
func noCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := cmd.CommandPath() + " --help lists the commands"
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = fmt.Sprintf("did you mean %s?", strings.Join(near, " or "))
	}
	return hinted{fmt.Errorf("%q is not a command", args[0]), hint}
}

// flagError adds to an error in the flags of cmd what may have been meant.
func flagError(cmd *cobra.Command, err error) error {
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok {
		return hinted{err, cmd.CommandPath() + " --help explains the flags"}
	}
	// "-upload-dir" arrives as a group of one-letter flags.
	name := cmp.Or(unknown.GetSpecifiedShortnames(), unknown.GetSpecifiedName())
	for _, s := range settings() {
		if s.secret && s.flag() == name {
			return hinted{err, fmt.Sprintf(
				"everybody on the machine can see a command line; set %s or %s_FILE", s.name, s.name)}
		}
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return hinted{err, "the nearest flag is --" + nearest(name, names)}
}
