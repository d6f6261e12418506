"""Handlers for rows of real data; a worker process imports this module by JOBQUEUE_HANDLERS."""

from __future__ import annotations

import asyncio
import math

from jobqueue import job

EARTH_RADIUS_KM = 6371.0
GREENWICH = (51.4779, 0.0)


@job("airport_distance")
async def airport_distance(ctx, iata: str, latitude: str, longitude: str, **rest: str) -> dict:  # type: ignore[no-untyped-def]
    """Great-circle distance of an airport from Greenwich; the row's fields come as a CSV reader gives them."""
    await asyncio.sleep(0.02)
    return {"iata": iata, "km": distance_km(float(latitude), float(longitude)), "fields": 3 + len(rest)}


@job("weather_range")
def weather_range(ctx, date: str, temp_max: str, temp_min: str, **rest: str) -> dict:  # type: ignore[no-untyped-def]
    """How far apart a day's temperatures were; a plain function, so it runs in a thread."""
    return {"date": date, "range": round(float(temp_max) - float(temp_min), 6), "fields": 3 + len(rest)}


def distance_km(latitude: float, longitude: float) -> float:
    """Haversine formula, kilometres."""
    lat_a, lon_a, lat_b, lon_b = map(math.radians, (*GREENWICH, latitude, longitude))
    half = math.sin((lat_b - lat_a) / 2) ** 2 + math.cos(lat_a) * math.cos(lat_b) * math.sin((lon_b - lon_a) / 2) ** 2
    return round(2 * EARTH_RADIUS_KM * math.asin(math.sqrt(half)), 6)
