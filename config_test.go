package redstart_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
)

// setenv sets exactly these REDIS_ variables.
func setenv(t *testing.T, vars map[string]string) {
	t.Helper()
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "REDIS_") {
			t.Setenv(name, "")
		}
	}
	for name, value := range vars {
		t.Setenv(name, value)
	}
}

func TestConfigFromEnv(t *testing.T) {
	setenv(t, map[string]string{
		"REDIS_URL": "rediss://u:p@h:1/2", "REDIS_USERNAME": "user", "REDIS_PASSWORD": "pass", "REDIS_NAMESPACE": "shop",
		"REDIS_POOL_SIZE": "3", "REDIS_COMMAND_TIMEOUT": "250ms", "REDIS_LAZY_CONNECT": "true",
		"REDIS_TLS_CA_FILE": "ca.pem", "REDIS_TLS_CERT_FILE": "cert.pem", "REDIS_TLS_KEY_FILE": "key.pem",
		"REDIS_TLS_SERVER_NAME": "redis.internal",
	})
	got, err := redstart.ConfigFromEnv()
	if err != nil {
		t.Fatal(err)
	}
	want := redstart.Config{
		URL: "rediss://u:p@h:1/2", Username: "user", Password: "pass", Namespace: "shop", PoolSize: 3,
		CommandTimeout: 250 * time.Millisecond, Lazy: true,
		TLSCAFile: "ca.pem", TLSCertFile: "cert.pem", TLSKeyFile: "key.pem", TLSServerName: "redis.internal",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestConfigFromEmptyEnv(t *testing.T) {
	setenv(t, nil)
	got, err := redstart.ConfigFromEnv()
	if err != nil || !reflect.DeepEqual(got, redstart.Config{}) {
		t.Errorf("%#v, %v, want the zero Config", got, err)
	}
}

func TestConfigFromEnvNamesTheInvalidVariable(t *testing.T) {
	for _, tt := range []struct{ name, value, want string }{
		{"REDIS_POOL_SIZE", "-3", "redstart: Config.PoolSize (REDIS_POOL_SIZE): -3: must be at least 1"},
		{"REDIS_POOL_SIZE", "many", `redstart: Config.PoolSize (REDIS_POOL_SIZE): strconv.ParseInt: parsing "many": invalid syntax`},
		{"REDIS_COMMAND_TIMEOUT", "500", `redstart: Config.CommandTimeout (REDIS_COMMAND_TIMEOUT): `},
		{"REDIS_COMMAND_TIMEOUT", "-1s", "redstart: Config.CommandTimeout (REDIS_COMMAND_TIMEOUT): -1s: must be at least 1ms"},
		{"REDIS_COMMAND_TIMEOUT", "5us", "redstart: Config.CommandTimeout (REDIS_COMMAND_TIMEOUT): 5µs: must be at least 1ms"},
		{"REDIS_LAZY_CONNECT", "perhaps", "redstart: Config.Lazy (REDIS_LAZY_CONNECT): "},
		{"REDIS_NAMESPACE", strings.Repeat("n", 129),
			"redstart: Config.Namespace (REDIS_NAMESPACE): 129 bytes long, limit is 128: use a shorter one"},
		{"REDIS_URL", "http://h", "redstart: Config.URL (REDIS_URL): the URL must begin with redis://"},
		{"REDIS_URL", "redis://u:53cr3t/@h", "redstart: Config.URL (REDIS_URL): the user name or the password is not percent-encoded"},
		{"REDIS_TLS_CA_FILE", "ca.pem", "redstart: Config.TLSCAFile (REDIS_TLS_CA_FILE): set, but the URL has no TLS: use a rediss:// URL"},
		{"REDIS_TLS_SERVER_NAME", "x", "redstart: Config.TLSServerName (REDIS_TLS_SERVER_NAME): set, but the URL has no TLS"},
		{"REDIS_TLS_CERT_FILE", "x",
			"redstart: Config.TLSKeyFile (REDIS_TLS_KEY_FILE): empty, but Config.TLSCertFile (REDIS_TLS_CERT_FILE) is set"},
		{"REDIS_TLS_KEY_FILE", "x",
			"redstart: Config.TLSCertFile (REDIS_TLS_CERT_FILE): empty, but Config.TLSKeyFile (REDIS_TLS_KEY_FILE) is set"},
	} {
		t.Run(tt.name+"="+tt.value, func(t *testing.T) {
			setenv(t, map[string]string{tt.name: tt.value})
			cfg, err := redstart.ConfigFromEnv()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "53cr3t") {
				t.Errorf("the password is in %v", err)
			}
			if !reflect.DeepEqual(cfg, redstart.Config{}) {
				t.Errorf("an error, and the Config %v", cfg)
			}
		})
	}
}

func TestConfigFromEnvNamesEachInvalidVariable(t *testing.T) {
	setenv(t, map[string]string{"REDIS_POOL_SIZE": "many", "REDIS_LAZY_CONNECT": "perhaps"})
	_, err := redstart.ConfigFromEnv()
	if err == nil || !strings.Contains(err.Error(), "REDIS_POOL_SIZE") || !strings.Contains(err.Error(), "REDIS_LAZY_CONNECT") {
		t.Errorf("after parsing: %v", err)
	}
	setenv(t, map[string]string{"REDIS_POOL_SIZE": "-1", "REDIS_COMMAND_TIMEOUT": "-1s", "REDIS_LAZY_CONNECT": ""})
	_, err = redstart.ConfigFromEnv()
	if err == nil || !strings.Contains(err.Error(), "REDIS_POOL_SIZE") || !strings.Contains(err.Error(), "REDIS_COMMAND_TIMEOUT") {
		t.Errorf("after validation: %v", err)
	}
}

func TestConfigFields(t *testing.T) {
	t.Parallel()
	callback := func(context.Context) (redstart.Credentials, error) { return redstart.Credentials{}, nil }
	for _, tt := range []struct {
		name string
		cfg  redstart.Config
		want string // "" = good
	}{
		{"zero", redstart.Config{}, ""},
		{"callback", redstart.Config{Credentials: callback}, ""},
		{"callback and password", redstart.Config{Credentials: callback, Password: "x"}, "Config.Credentials: set together with"},
		{"callback and URL's user", redstart.Config{Credentials: callback, URL: "redis://u@h"}, "Config.Credentials: set together with"},
		{"TLS without TLS", redstart.Config{TLS: &tls.Config{}}, "Config.TLS: set, but the URL has no TLS"},
		{"TLS over a socket", redstart.Config{URL: "unix:///s", TLS: &tls.Config{}}, "Config.TLS: set, but"},
		{"TLS", redstart.Config{URL: "rediss://h", TLS: &tls.Config{}}, ""},
		{"no CA file", redstart.Config{URL: "rediss://h", TLSCAFile: "/nonexistent/ca.pem"},
			"Config.TLSCAFile (REDIS_TLS_CA_FILE): /nonexistent/ca.pem: no such file"},
		{"no CA in it", redstart.Config{URL: "rediss://h", TLSCAFile: "config_test.go"}, "config_test.go: contains no certificate"},
		{"no cert file", redstart.Config{URL: "rediss://h", TLSCertFile: "/nonexistent/c", TLSKeyFile: "config_test.go"},
			"Config.TLSCertFile (REDIS_TLS_CERT_FILE): /nonexistent/c: no such file"},
		{"no key file", redstart.Config{URL: "rediss://h", TLSCertFile: "config_test.go", TLSKeyFile: "/nonexistent/k"},
			"Config.TLSKeyFile (REDIS_TLS_KEY_FILE): /nonexistent/k: no such file"},
		{"no cert in it", redstart.Config{URL: "rediss://h", TLSCertFile: "config_test.go", TLSKeyFile: "config_test.go"},
			"Config.TLSCertFile (REDIS_TLS_CERT_FILE): config_test.go: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := redstart.Check(tt.cfg)
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
}

func TestConfigTLS(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	base := &tls.Config{MinVersion: tls.VersionTLS13, ServerName: "base"}
	got, err := redstart.Check(redstart.Config{
		URL: "rediss://h", TLS: base, TLSCAFile: cert, TLSCertFile: cert, TLSKeyFile: key, TLSServerName: "other",
	})
	if err != nil {
		t.Fatal(err)
	}
	if got.ServerName != "other" || got.RootCAs == nil || len(got.Certificates) != 1 || got.MinVersion != tls.VersionTLS13 {
		t.Errorf("%q, %v, %d certificates, version %x", got.ServerName, got.RootCAs, len(got.Certificates), got.MinVersion)
	}
	if base.ServerName != "base" || base.RootCAs != nil || base.Certificates != nil {
		t.Error("the caller's tls.Config was changed")
	}
	got, err = redstart.Check(redstart.Config{URL: "rediss://h"})
	if err != nil || got.MinVersion != tls.VersionTLS12 || got.InsecureSkipVerify {
		t.Errorf("default: %+v, %v", got, err)
	}
	if got, err = redstart.Check(redstart.Config{}); err != nil || got != nil {
		t.Errorf("without TLS: %+v, %v", got, err)
	}
}

// certificate writes a self-signed certificate and its key, and returns their files.
func certificate(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "EC PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

// No way to print or log a Config or Credentials shows a secret.
func TestConfigHidesSecrets(t *testing.T) {
	t.Parallel()
	cfgs := map[string]redstart.Config{
		"url":        {URL: "redis://user:53cr3t@h/1"},
		"broken url": {URL: "redis://user:53cr3t/@h/1"},
		"field":      {Username: "user", Password: "53cr3t"},
		"both":       {URL: "redis://user:53cr3t@h", Password: "also53cr3t"},
		"sentinel":   {URL: "redis+sentinel://a,b/m?sentinel_password=53cr3t"},
		"credentials": {Credentials: func(context.Context) (redstart.Credentials, error) {
			return redstart.Credentials{Password: "53cr3t"}, nil
		}},
	}
	for name, cfg := range cfgs {
		for text := range printed(cfg, &cfg, map[string]redstart.Config{"cfg": cfg}) {
			if strings.Contains(text, "53cr3t") {
				t.Errorf("%s: %s", name, text)
			}
		}
	}
	c := redstart.Credentials{Username: "user", Password: "53cr3t", RefreshAfter: time.Unix(0, 0).UTC()}
	for text := range printed(c, &c, map[string]redstart.Credentials{"c": c}) {
		if strings.Contains(text, "53cr3t") || !strings.Contains(text, "user") {
			t.Error(text)
		}
	}
}

func printed(values ...any) func(func(string) bool) {
	return func(yield func(string) bool) {
		for _, v := range values {
			for _, format := range []string{"%v", "%+v", "%s", "%#v", "%q"} {
				yield(fmt.Sprintf(format, v))
			}
			var out bytes.Buffer
			slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
			slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
			yield(out.String())
		}
	}
}

func TestConfigString(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		cfg  redstart.Config
		want string
	}{
		{redstart.Config{}, "redis://localhost:6379/0 namespace=app pool_size=10 command_timeout=500ms"},
		{
			redstart.Config{URL: "rediss://u:p@h", Username: "v", Lazy: true, TLSCAFile: "ca.pem", Namespace: "shop"},
			"rediss://v:***@h:6379/0 namespace=shop pool_size=10 command_timeout=500ms lazy=true tls_ca_file=ca.pem",
		},
		{redstart.Config{URL: "x"}, "(unreadable URL) namespace=app pool_size=10 command_timeout=500ms"},
	} {
		if got := tt.cfg.String(); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}
