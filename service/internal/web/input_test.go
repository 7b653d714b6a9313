package web_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/service/internal/shop"
)

func TestBadInputChangesNothing(t *testing.T) {
	onDatabases(t, func(t *testing.T, in *instance) {
		ada := in.addUser("ada@example.com", "Ada")
		in.addUser("grace@example.com", "Grace")
		in.become(ada)

		json := []string{"Content-Type", "application/json"}
		for name, c := range map[string]struct {
			method, path, body string
			headers            []string
			status             int
			about              string
		}{
			"id that is no number":     {"GET", "/api/users/ada", "", nil, 400, "whole number"},
			"id with SQL":              {"GET", "/api/users/1;DROP%20TABLE%20users", "", nil, 400, "whole number"},
			"id with SQL and a quote":  {"DELETE", "/api/users/1'%20OR%20'1'='1", "", nil, 400, "whole number"},
			"id with markup":           {"GET", "/api/users/%3Cscript%3E", "", nil, 400, "whole number"},
			"id zero":                  {"GET", "/api/users/0", "", nil, 400, "whole number"},
			"negative id":              {"DELETE", "/api/users/-1", "", nil, 400, "whole number"},
			"fractional id":            {"GET", "/api/users/1.5", "", nil, 400, "whole number"},
			"id beyond 64 bits":        {"GET", "/api/users/9223372036854775808", "", nil, 400, "whole number"},
			"id with a slash in it":    {"GET", "/api/users/1%2F2", "", nil, 400, "whole number"},
			"id without a user":        {"GET", "/api/users/999", "", nil, 404, "no such user"},
			"spending without a user":  {"GET", "/api/users/999/spending", "", nil, 403, "another user"},
			"changing no user":         {"PATCH", "/api/users/999", `{"name":"x"}`, json, 403, "another user"},
			"deleting no user":         {"DELETE", "/api/users/999", "", nil, 403, "another user"},
			"changing another":         {"PATCH", "/api/users/2", `{"name":"x"}`, json, 403, "another user"},
			"deleting another":         {"DELETE", "/api/users/2", "", nil, 403, "another user"},
			"no address to look for":   {"GET", "/api/users", "", nil, 400, "?email="},
			"address without a user":   {"GET", "/api/users?email='%20OR%201=1%20--", "", nil, 404, "no such user"},
			"address with a zero byte": {"GET", "/api/users?email=ada%00@example.com", "", nil, 404, "no such user"},
			"address that is no text":  {"GET", "/api/users?email=%ff%fe@example.com", "", nil, 404, "no such user"},
			"unknown path":             {"GET", "/api/nothing", "", nil, 404, "nothing at this path"},
			"path with dots":           {"GET", "/assets/..%2f..%2fgo.mod", "", nil, 404, ""},
			"method that is not here":  {"POST", "/api/users/1", `{}`, json, 405, "POST"},
			"PUT instead of PATCH":     {"PUT", "/api/users/1", `{"name":"x"}`, json, 405, "PATCH"},
			"unknown method":           {"BREW", "/", "", nil, 405, "BREW"},
			"no content type":          {"PATCH", "/api/users/1", `{"name":"x"}`, nil, 415, "application/json"},
			"form instead of JSON": {"PATCH", "/api/users/1", `name=x`,
				[]string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "application/json"},
			"no body":                  {"PATCH", "/api/users/1", "", json, 400, "empty"},
			"no JSON":                  {"PATCH", "/api/users/1", `{"name":`, json, 400, "not JSON"},
			"a list":                   {"PATCH", "/api/users/1", `[]`, json, 400, "JSON object"},
			"a string":                 {"PATCH", "/api/users/1", `"x"`, json, 400, "JSON object"},
			"null":                     {"PATCH", "/api/users/1", `null`, json, 400, "JSON object"},
			"nothing to change":        {"PATCH", "/api/users/1", `{}`, json, 422, "nothing to change"},
			"two objects":              {"PATCH", "/api/users/1", `{"name":"x"}{"name":"y"}`, json, 400, "text after"},
			"rubbish after the object": {"PATCH", "/api/users/1", `{"name":"x"}]`, json, 400, "not JSON"},
			"unknown field":            {"PATCH", "/api/users/1", `{"name":"x","admin":true}`, json, 400, `"admin"`},
			"the id as a field":        {"PATCH", "/api/users/1", `{"id":2,"name":"x"}`, json, 400, `"id"`},
			"the hash as a field":      {"PATCH", "/api/users/1", `{"password_hash":"x"}`, json, 400, `"password_hash"`},
			"a number as name":         {"PATCH", "/api/users/1", `{"name":7}`, json, 400, "name must not be a JSON number"},
			"an object as email": {"PATCH", "/api/users/1", `{"name":"x","email":{"$ne":""}}`, json,
				400, "email must not be a JSON object"},
			"null as name": {"PATCH", "/api/users/1", `{"name":null}`, json, 422, "null"},
			"empty name":   {"PATCH", "/api/users/1", `{"name":" \t "}`, json, 422, "name"},
			"overlong name": {"PATCH", "/api/users/1", `{"name":"` + strings.Repeat("ä", 101) +
				`"}`, json, 422, "100 characters"},
			"text that is not UTF-8": {"PATCH", "/api/users/1", "{\"name\":\"a\xff\"}", json, 400, "UTF-8"},
			"control characters":     {"PATCH", "/api/users/1", `{"name":"a\u0000b"}`, json, 422, "control"},
			"no address":             {"PATCH", "/api/users/1", `{"name":"x","email":"ada"}`, json, 422, "email"},
			"address with a name":    {"PATCH", "/api/users/1", `{"email":"Ada <ada@example.com>"}`, json, 422, "email"},
			"address with a line":    {"PATCH", "/api/users/1", `{"email":"a@b.c\nBcc: x@y.z"}`, json, 422, "email"},
			"overlong address": {"PATCH", "/api/users/1", `{"email":"` + strings.Repeat("a", 251) +
				`@b.c"}`, json, 422, "254 bytes"},
			"address of another user": {"PATCH", "/api/users/1", `{"name":"x","email":"Grace@example.com"}`,
				json, 409, "another user"},
			"oversized body": {"PATCH", "/api/users/1", `{"name":"` + strings.Repeat("a", 20<<10) +
				`"}`, json, 413, "16384 bytes"},
			"oversized white space": {"PATCH", "/api/users/1", `{"name":"x"}` +
				strings.Repeat(" ", 20<<10), json, 413, "16384 bytes"},
			"deep nesting": {"PATCH", "/api/users/1", strings.Repeat(`{"name":`, 1000) + "1" +
				strings.Repeat("}", 1000), json, 400, "name"},
			"PATCH from another site": {"PATCH", "/api/users/1", `{"name":"x"}`,
				append([]string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, json...), 403, "another site"},
			"DELETE from another site": {"DELETE", "/api/users/1", "",
				[]string{"Origin", "https://evil.example"}, 403, "another site"},
			"page of no number": {"GET", "/?user=x", "", nil, 400, "whole number"},
		} {
			t.Run(name, func(t *testing.T) {
				answer := in.do(c.method, c.path, c.body, c.headers...)
				if strings.HasPrefix(c.path, "/assets/") {
					wantStatus(t, answer, c.status)
					return
				}
				wantProblem(t, answer, c.status, c.about)
				if c.status == http.StatusMethodNotAllowed && answer.header.Get("Allow") == "" {
					t.Error("no Allow header")
				}
			})
		}

		if now, err := in.store.User(t.Context(), ada.ID); err != nil || now != ada {
			t.Errorf("after all of that the user is %+v, %v; want %+v", now, err, ada)
		}
	})
}

func TestHostileTextIsData(t *testing.T) {
	onDatabases(t, func(t *testing.T, in *instance) {
		ada := in.addUser("ada@example.com", "Ada")
		in.become(ada)
		for _, name := range []string{
			`Robert'); DROP TABLE users; --`, `<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`,
			`{{.PasswordHash}}`, `*:{}:?`, `Ünïcödé 🦊`,
		} {
			body := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name)
			wantStatus(t, in.patch(userPath(ada.ID), `{"name":"`+body+`"}`), http.StatusOK)
			for range 2 {
				if got := in.get(userPath(ada.ID)).field(t, "name"); got != name {
					t.Errorf("the name %q came back as %q", name, got)
				}
			}
			page := in.get("/")
			wantStatus(t, page, http.StatusOK)
			if strings.Contains(page.body, "<script>alert") || strings.Contains(page.body, "<img") ||
				strings.Contains(page.body, "hash-of") {
				t.Errorf("the page took the name %q for markup:\n%s", name, page.body)
			}
		}
		// An address can look like a key.
		wantStatus(t, in.patch(userPath(ada.ID), `{"email":"1{*}?@example.com"}`), http.StatusOK)
		wantSource(t, in.get(userByEmailPath("1{*}?@example.com")), shop.FromDatabase)
	})
}
