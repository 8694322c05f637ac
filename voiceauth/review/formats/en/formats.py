"""Times on the review site: unambiguous in every country, to the second, UTC as in the trail."""

DATE_FORMAT = "j M Y"
DATETIME_FORMAT = "j M Y, H:i:s"
