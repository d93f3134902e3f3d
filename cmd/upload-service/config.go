package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
)

// Config is every setting. The tags are the only place that knows a setting's
// name, default, example and meaning; flags, messages, the table in the README
// and .env.example follow from them. A secret has no flag, because a command
// line is visible to every process of the machine; it may be in a file instead,
// which the setting with _FILE added names. A group begins with the field that
// names it and goes on to the next.
type Config struct {
	Addr        string `group:"address" env:"UPLOAD_ADDR" envDefault:":8000" help:"where to listen: host:port, [IPv6]:port or unix:/path; in local mode 127.0.0.1:8000 unless set"`
	PublicURL   string `env:"UPLOAD_PUBLIC_URL" example:"https://files.example.com" help:"how browsers reach the service: scheme and host, no path; makes links absolute"`
	ContentURL  string `env:"UPLOAD_CONTENT_URL" example:"https://content.example.net" help:"second host, scheme and host, from which browsers get the contents of files; no session is there"`
	StaticURL   string `env:"UPLOAD_STATIC_URL" example:"https://cdn.example.com/static" help:"where browsers get the style sheet and the scripts instead of /static: a CDN or a web server in front of it"`
	Dir         string `env:"UPLOAD_DIR" envDefault:"uploads" help:"folder of all files and metadata, on one volume"`
	VisibleTree bool   `env:"UPLOAD_VISIBLE_TREE" envDefault:"true" help:"show files under their names below UPLOAD_DIR"`
	TLSCert     string `env:"UPLOAD_TLS_CERT" example:"/etc/ssl/files.pem" help:"PEM file with the certificates, to serve HTTPS without a proxy"`
	TLSKey      string `env:"UPLOAD_TLS_KEY" example:"/etc/ssl/files.key" help:"PEM file with their private key"`

	GitHubClientID         string `group:"signin" env:"GITHUB_CLIENT_ID" example:"Iv1.0123456789abcdef" help:"client id of the GitHub OAuth app; without one the service is in local mode"`
	GitHubClientSecret     string `env:"GITHUB_CLIENT_SECRET" secret:"true" example:"the-secret-of-the-app" help:"client secret of the GitHub OAuth app; no flag"`
	GitHubClientSecretFile string `env:"GITHUB_CLIENT_SECRET_FILE" example:"/run/secrets/github_client_secret" help:"file with the client secret, instead of GITHUB_CLIENT_SECRET"`
	SecretKey              string `env:"SECRET_KEY" secret:"true" example:"any-string" help:"accepted so that old settings keep working, but no longer needed: sessions are in the store; no flag"`
	SecretKeyFile          string `env:"SECRET_KEY_FILE" example:"/run/secrets/secret_key" help:"file with SECRET_KEY, no longer needed either"`

	GitHubURL          string `env:"GITHUB_URL" envDefault:"https://github.com" help:"address of GitHub, or of an Enterprise Server"`
	GitHubAPIURL       string `env:"GITHUB_API_URL" envDefault:"https://api.github.com" help:"address of its API; on an Enterprise Server it ends in /api/v3"`
	GitHubTokenPolicy  string `env:"GITHUB_TOKEN_POLICY" envDefault:"pat" help:"accepted GitHub tokens: app (issued to our app), pat (those and personal ones) or any (those of other apps too)"`
	GitHubAllowedUsers List   `env:"GITHUB_ALLOWED_USERS" example:"octocat,github:583231" help:"who may sign in: logins or github:ID, separated by commas; unset is everybody, set but empty is nobody"`
	GitHubAllowedOrgs  List   `env:"GITHUB_ALLOWED_ORGS" example:"my-company" help:"organizations whose members may sign in, separated by commas; unset is everybody, set but empty is nobody"`
	Admins             List   `env:"UPLOAD_ADMINS" example:"octocat,github:583231" help:"who may use the admin routes: logins or github:ID, separated by commas"`

	MaxFileSize    Limit `group:"limits" env:"UPLOAD_MAX_FILE_SIZE" envDefault:"5GiB" help:"largest file; none is no limit"`
	MaxRequestSize Limit `env:"UPLOAD_MAX_REQUEST_SIZE" envDefault:"none" example:"20GiB" help:"largest body of one request; none is no limit"`
	OwnerQuota     Limit `env:"UPLOAD_OWNER_QUOTA" envDefault:"100GiB" help:"bytes of one owner, temporary uploads included; none is no limit"`
	OwnerMaxFiles  int64 `env:"UPLOAD_OWNER_MAX_FILES" envDefault:"1000000" help:"files of one owner, temporary uploads included"`
	OwnerMaxActive int   `env:"UPLOAD_OWNER_MAX_ACTIVE" envDefault:"256" help:"uploads of one owner that run at the same time"`
	MinFree        Size  `env:"UPLOAD_MIN_FREE" envDefault:"1GiB" help:"space that uploads leave free on the volume, so that deleting still works"`

	TemporaryTTL    Duration `group:"times" env:"UPLOAD_TEMPORARY_TTL" envDefault:"24h" help:"life of a temporary upload since it was last used"`
	CleanupInterval Duration `env:"UPLOAD_CLEANUP_INTERVAL" envDefault:"10m" help:"time between two sweeps"`
	Undo            Duration `env:"UPLOAD_UNDO" envDefault:"10m" help:"how long a deleted or replaced file, or a discarded upload, can be restored; 0 is not at all"`
	HeaderTimeout   Duration `env:"UPLOAD_HEADER_TIMEOUT" envDefault:"30s" help:"time for the headers and the first 8 KiB of a body to arrive"`
	IdleTimeout     Duration `env:"UPLOAD_IDLE_TIMEOUT" envDefault:"60s" help:"a connection on which nothing moves for so long is closed"`
	ShutdownGrace   Duration `env:"UPLOAD_SHUTDOWN_GRACE" envDefault:"2m" help:"time for running requests to end at shutdown"`

	RateLimit      int      `group:"clients" env:"UPLOAD_RATE_LIMIT" envDefault:"0" example:"600" help:"requests a minute, per owner and per address; 0 is no limit"`
	CORSOrigins    List     `env:"UPLOAD_CORS_ORIGINS" example:"https://app.example.com" help:"origins of other sites whose pages may call the API, separated by commas; * is every origin, without cookies"`
	TrustedProxies Prefixes `env:"UPLOAD_TRUSTED_PROXIES" example:"127.0.0.1,10.0.0.0/8" help:"addresses or networks of proxies whose X-Forwarded-For is believed, separated by commas"`

	LogLevel  slog.Level `group:"log" env:"UPLOAD_LOG_LEVEL" envDefault:"info" help:"least level that is logged: debug, info, warn or error"`
	LogFormat string     `env:"UPLOAD_LOG_FORMAT" envDefault:"text" help:"format of the log: text or json"`
}

// Local reports whether no GitHub app is configured: one owner, this machine.
func (c Config) Local() bool { return c.GitHubClientID == "" }

// listenAddr is UPLOAD_ADDR as net.Listen and net.Dial take it.
func (c Config) listenAddr() (network, address string) {
	if path, ok := strings.CutPrefix(c.Addr, "unix:"); ok {
		return "unix", path
	}
	return "tcp", c.Addr
}

// newLogger makes the logger that cfg asks for.
func newLogger(cfg Config, w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{Level: cfg.LogLevel}
	if cfg.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// Load reads the settings: flags (by the name of the setting) go before
// environ ("NAME=value" each), that before the file dotenv, which may be
// missing, and that before the defaults. The environment of the process is
// neither read nor changed. A setting that is set but empty has its default;
// only a list is then empty, in contrast to nil.
//
// The error joins everything that is wrong, a line each. The warnings are names
// that look like settings and are none. Neither shows a secret.
func Load(flags map[string]string, environ []string, dotenv string) (Config, []string, error) {
	list := settings()
	names := make([]string, len(list))
	for i, s := range list {
		names[i] = s.name
	}
	var problems []error
	var warnings []string

	// 1. Read the sources. A file that cannot be parsed may hold any setting:
	// what seems wrong without it would mislead.
	file, err := readDotenv(dotenv)
	if err != nil {
		return Config{}, nil, err
	}
	process := map[string]string{}
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		process[name] = value
	}

	// 2. Look for mistyped names. In the environment they are no error:
	// Kubernetes sets UPLOAD_PORT and the like for a service named upload.
	for _, name := range strangers(file, names) {
		text := fmt.Sprintf("%s in %s is not a setting; the nearest is %s",
			name, dotenv, nearest(name, names))
		if strings.HasPrefix(name, "UPLOAD_") {
			problems = append(problems, errors.New(text))
		} else {
			warnings = append(warnings, text)
		}
	}
	for _, name := range strangers(process, names) {
		warnings = append(warnings,
			fmt.Sprintf("%s in the environment is not a setting; the nearest is %s",
				name, nearest(name, names)))
	}

	// 3. Merge, the strongest source last. The map holds nothing but settings
	// and is never nil, for which package env would read the process's own.
	values := map[string]string{}
	for _, source := range []map[string]string{file, process, flags} {
		maps.Copy(values, source)
	}
	maps.DeleteFunc(values, func(name, _ string) bool { return !slices.Contains(names, name) })

	// 4. Parse and check. A setting is reported once: what else is wrong with
	// it follows from the first.
	reported := map[string]bool{}
	report := func(name string, wrong error) {
		if wrong == nil || reported[name] {
			return
		}
		reported[name] = true
		s := list[slices.Index(names, name)]
		shown := name
		if values[name] != "" && !s.secret {
			shown = fmt.Sprintf("%s=%q", name, values[name])
		}
		problems = append(problems,
			fmt.Errorf("%s %w, for example %s=%s", shown, wrong, name, s.example))
	}
	cfg := parse(list, values, report)
	if cfg.Local() && values["UPLOAD_ADDR"] == "" {
		cfg.Addr = "127.0.0.1:8000"
	}
	cfg.PublicURL = strings.TrimSuffix(cfg.PublicURL, "/")
	cfg.ContentURL = strings.TrimSuffix(cfg.ContentURL, "/")
	cfg.StaticURL = strings.TrimSuffix(cfg.StaticURL, "/")
	cfg.GitHubURL = strings.TrimSuffix(cfg.GitHubURL, "/")
	cfg.GitHubAPIURL = strings.TrimSuffix(cfg.GitHubAPIURL, "/")
	for i, origin := range cfg.CORSOrigins {
		cfg.CORSOrigins[i] = strings.ToLower(strings.TrimSuffix(origin, "/")) // as browsers send it
	}
	report("GITHUB_CLIENT_SECRET_FILE", readSecret(&cfg.GitHubClientSecret, cfg.GitHubClientSecretFile))
	report("SECRET_KEY_FILE", readSecret(&cfg.SecretKey, cfg.SecretKeyFile))
	validate(cfg, report)
	return cfg, warnings, errors.Join(problems...)
}

// parse makes a Config of values and defaults, and reports what is not of the
// type of its field.
func parse(
	list []setting, values map[string]string, report func(name string, wrong error),
) Config {
	var cfg Config
	err := env.ParseWithOptions(&cfg, env.Options{Environment: values})
	all, _ := errors.AsType[env.AggregateError](err)
	for _, err := range all.Errors {
		// No field has an option of package env, so this is the only type.
		wrong, _ := errors.AsType[env.ParseError](err)
		i := slices.IndexFunc(list, func(s setting) bool { return s.field == wrong.Name })
		report(list[i].name, explain(wrong))
	}
	// Package env does not look at empty values, but for a list of allowed
	// users empty is nobody and nil is everybody.
	fields := reflect.ValueOf(&cfg).Elem()
	for _, s := range list {
		_, set := values[s.name]
		l, ok := fields.FieldByName(s.field).Addr().Interface().(*List)
		if ok && set && *l == nil {
			*l = List{}
		}
	}
	return cfg
}

// explain says what is wrong with a value. Our own types do it themselves.
func explain(e env.ParseError) error {
	if e.Type == reflect.TypeFor[slog.Level]() {
		return errors.New("must be debug, info, warn or error")
	}
	number, ok := errors.AsType[*strconv.NumError](e.Err)
	switch {
	case !ok:
		return e.Err
	case e.Type.Kind() == reflect.Bool:
		return errors.New("must be true or false")
	case errors.Is(number, strconv.ErrRange):
		return errors.New("is too large")
	default:
		return errors.New("must be a whole number")
	}
}

// validate reports values out of range and settings that contradict others.
// The smallest durations keep out what cannot work, not what is unwise.
func validate(cfg Config, report func(name string, wrong error)) {
	report("UPLOAD_ADDR", checkAddr(cfg.Addr))
	report("UPLOAD_PUBLIC_URL", checkPublicURL(cfg.PublicURL))
	report("UPLOAD_CONTENT_URL", checkContentURL(cfg.ContentURL, cfg.PublicURL))
	report("UPLOAD_STATIC_URL", checkStaticURL(cfg.StaticURL))
	report("GITHUB_URL", checkGitHubURL(cfg.GitHubURL))
	report("GITHUB_API_URL", checkGitHubURL(cfg.GitHubAPIURL))
	report("GITHUB_TOKEN_POLICY", oneOf(cfg.GitHubTokenPolicy, "app", "pat", "any"))
	report("GITHUB_ALLOWED_USERS", checkAccounts(cfg.GitHubAllowedUsers))
	report("GITHUB_ALLOWED_ORGS", checkAccounts(cfg.GitHubAllowedOrgs))
	report("UPLOAD_ADMINS", checkAccounts(cfg.Admins))
	report("UPLOAD_OWNER_MAX_FILES", atLeast(cfg.OwnerMaxFiles, 1))
	report("UPLOAD_OWNER_MAX_ACTIVE", atLeast(cfg.OwnerMaxActive, 1))
	report("UPLOAD_TEMPORARY_TTL", atLeast(cfg.TemporaryTTL, Duration(time.Second)))
	report("UPLOAD_CLEANUP_INTERVAL", atLeast(cfg.CleanupInterval, Duration(100*time.Millisecond)))
	report("UPLOAD_HEADER_TIMEOUT", atLeast(cfg.HeaderTimeout, Duration(100*time.Millisecond)))
	report("UPLOAD_IDLE_TIMEOUT", atLeast(cfg.IdleTimeout, Duration(100*time.Millisecond)))
	report("UPLOAD_RATE_LIMIT", atLeast(cfg.RateLimit, 0))
	report("UPLOAD_CORS_ORIGINS", checkOrigins(cfg.CORSOrigins))
	report("UPLOAD_LOG_FORMAT", oneOf(cfg.LogFormat, "text", "json"))

	hasSecret := cfg.GitHubClientSecret != "" || cfg.GitHubClientSecretFile != ""
	if hasSecret && cfg.GitHubClientID == "" {
		report("GITHUB_CLIENT_ID", errors.New("is missing, while the client secret is set"))
	}
	if !hasSecret && cfg.GitHubClientID != "" {
		report("GITHUB_CLIENT_SECRET", errors.New("is missing, while GITHUB_CLIENT_ID is set"))
	}
	if cfg.TLSCert == "" && cfg.TLSKey != "" {
		report("UPLOAD_TLS_CERT", errors.New("is missing, while UPLOAD_TLS_KEY is set"))
	}
	if cfg.TLSCert != "" && cfg.TLSKey == "" {
		report("UPLOAD_TLS_KEY", errors.New("is missing, while UPLOAD_TLS_CERT is set"))
	}
}
