"""Traces and metrics by OTLP; nothing of OpenTelemetry is imported before they are opened."""
