"""Sync of the result tables to MLflow. MLflow itself is imported at the first sync."""

from raysl.tracking.mlflow import SyncReport, TrackingError, sync
from raysl.tracking.tracker import Tracker, TrackingStatus
from raysl.tracking.uri import default_uri, validate_uri

__all__ = ["SyncReport", "Tracker", "TrackingError", "TrackingStatus", "default_uri", "sync", "validate_uri"]
