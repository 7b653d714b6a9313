package rig

import (
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The files of the two shipped users, in deploy/acl.
const (
	ACLFile     = "redstart.acl"      // all patterns, no SCAN
	ACLScanFile = "redstart-scan.acl" // and SCAN, for cache.DeletePrefix
)

const (
	shippedNamespace = "app:"
	shippedPassword  = ">CHANGE-ME"
)

// password is the password of both users in this process.
var password = rand.Text()

// ACLServer starts a server for this test that loads an ACL definition: the name of a file in
// deploy/acl, or an absolute path. The URL of the server has the credentials of the user. The
// definition stays as shipped, including the namespace app; only the password is replaced. CLI runs
// as the default user, which has all rights.
func ACLServer(t testing.TB, aclFile string) *Server {
	t.Helper()
	Need(t, TierAll)
	file, users, err := userFile(aclFile, shippedNamespace)
	if err != nil {
		t.Fatal(err)
	}
	s, err := startServer(t, "acl", "redis-server", "--include", file)
	if err != nil {
		t.Fatal(err)
	}
	s.user = url.UserPassword(users[0], password)
	return s
}

// ACLCluster starts a cluster for this test, without replicas, whose nodes load an ACL definition
// as [ACLServer] does. Its URL is for the default user, who has all rights. The users of the
// definition have the returned password.
func ACLCluster(t testing.TB, aclFile string) (c *Cluster, usersPassword string) {
	t.Helper()
	Need(t, TierAll)
	file, _, err := userFile(aclFile, shippedNamespace)
	if err != nil {
		t.Fatal(err)
	}
	return NewCluster(t, NoReplicas(), NodeArgs("--include", file)), password
}

// usersFile writes both shipped users for one namespace prefix.
func usersFile(namespace string) (string, error) {
	first, _, err := userFile(ACLFile, namespace)
	if err != nil {
		return "", err
	}
	second, _, err := userFile(ACLScanFile, namespace)
	if err != nil {
		return "", err
	}
	more, err := os.ReadFile(second)
	if err != nil {
		return "", err
	}
	f, err := os.OpenFile(first, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	_, err = f.Write(more)
	return first, err
}

// userFile copies an ACL definition with a password and a namespace. It returns the names of its
// users.
func userFile(name, namespace string) (file string, users []string, err error) {
	if !filepath.IsAbs(name) {
		name = filepath.Join(repository(), "deploy", "acl", name)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return "", nil, err
	}
	definition := strings.NewReplacer(
		shippedPassword, ">"+password,
		"~"+shippedNamespace, "~"+namespace,
		"&"+shippedNamespace, "&"+namespace,
	).Replace(string(b))
	for line := range strings.Lines(definition) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "user" {
			users = append(users, fields[1])
		}
	}
	if len(users) == 0 {
		return "", nil, fmt.Errorf("rig: %s defines no user", name)
	}
	dir, err := process.serverDir("users")
	if err != nil {
		return "", nil, err
	}
	file = filepath.Join(dir, "users.acl")
	return file, users, os.WriteFile(file, []byte(definition), 0o600)
}

// repository returns the root of the source tree: the nearest folder above the working folder of
// the test that has a go.work. The path of this file is no help, because a build with -trimpath
// removes it.
func repository() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir
		}
	}
	panic("rig: no go.work above the working folder")
}
