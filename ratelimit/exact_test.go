package ratelimit_test

func hammer() {}
