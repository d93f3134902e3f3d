// Package store is the domain: owners, uploads, files, quota, the sweep and
// the check. It owns every rule about them and knows neither HTTP nor an
// engine: metadata goes through package kv, bytes through package blob.
//
// Its promise is that what it acknowledged is durable. Every protocol keeps
// one order: bytes become durable before the one transaction that names them,
// and names go before the bytes they name. A crash between two steps leaves
// at most bytes that no record names, and those are found again by epoch.
package store
